"""Looks for known vulnerabilities of what the images install (`make audit`), by pip-audit and OSV's database.

Exits 1 on a finding. Where the database cannot be reached nothing is looked at, and it says so.
"""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

from deploy.locks import FOLDER

URL = os.environ.get("OSV_URL", "https://api.osv.dev/v1/query")
TIMEOUT_S = 10


class AuditFailed(RuntimeError):
    """pip-audit did not get through, though the database answers."""


def why_not(url: str) -> str:
    """Why the database cannot be asked; empty when it can."""
    request = urllib.request.Request(url, json.dumps({"package": {"name": "pip", "ecosystem": "PyPI"}}).encode())
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):
            return ""
    except urllib.error.HTTPError as error:
        return f"it answers HTTP {error.code}"
    except OSError as error:
        return str(error)


def findings(lock: Path, url: str) -> list[str]:
    """A line for each known vulnerability of the packages in `lock`.

    Raises:
        AuditFailed: the packages could not all be looked up.
    """
    options = ["--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off"]
    service = ["--vulnerability-service", "osv", "--osv-url", url, "--timeout", str(TIMEOUT_S)]
    command = [sys.executable, "-m", "pip_audit", *options, *service, "--requirement", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError as error:
        raise AuditFailed(f"{lock.name}: {done.stderr.strip()}") from error
    skipped = [f"{each['name']} ({each['skip_reason']})" for each in packages if "skip_reason" in each]
    if skipped:
        raise AuditFailed(f"{lock.name}: not looked up: {', '.join(skipped)}")
    return [_line(lock, package, each) for package in packages for each in package["vulns"]]


def _line(lock: Path, package: dict[str, str], vulnerability: dict[str, object]) -> str:
    return f"{lock.name}: {package['name']} {package['version']} has {vulnerability['id']}"


def main() -> int:
    """Audits every lock; the exit status."""
    reason = why_not(URL)
    if reason:
        print(
            f"AUDIT SKIPPED: the database of vulnerabilities at {URL} is not reachable ({reason}). Nothing was checked."
        )
        return 0
    locks = sorted(FOLDER.glob("*.txt"))
    found = [line for lock in locks for line in findings(lock, URL)]
    print("\n".join(found) or f"No known vulnerabilities in {len(locks)} locks.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
