// Calls of the gateway over HTTP. An error is an ApiError with the sentence that the gateway gave.

export class ApiError extends Error {
  constructor(problem) {
    super(problem.detail || problem.title);
    this.reason = problem.reason;
  }
}

const field = (id) => document.getElementById(id);

export const library = () => `libraries/${field("library").value.trim()}`;

async function request(path, options = {}) {
  const key = field("key").value.trim();
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    response = await fetch(`v1/${path}`, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError({ detail: "The gateway cannot be reached; try again in a moment." });
  }
  if (response.ok) return response;
  let problem = { title: `The gateway answered ${response.status}.` };
  try {
    problem = await response.json();
  } catch {
    // Something between here and the gateway answered instead of it.
  }
  throw new ApiError(problem);
}

function form(fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.append(name, value);
  return body;
}

// Calls `onStage(stage, response)` for each stage as it is done.
export async function recommend(photo, limit, preview, onStage, signal) {
  const body = form({ image: photo, limit, preview: JSON.stringify(preview) });
  const response = await request(`${library()}:recommendStream`, { method: "POST", body, signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const step = JSON.parse(line);
      if (step.error) throw new ApiError(step.error);
      onStage(step.stage, step.response);
    }
  }
}

export async function renderPreview(photo, background, preset, size) {
  const body = form({ image: photo, background, preset, size });
  return (await (await request(`${library()}:preview`, { method: "POST", body })).json()).preview;
}

export async function recordFeedback(recommendationId, chosen, rejected) {
  const body = JSON.stringify({ recommendationId, chosen, rejected });
  await request(`${library()}/feedback`, { method: "POST", body, headers: { "Content-Type": "application/json" } });
}

export async function listRules() {
  return (await (await request(library())).json()).rules;
}

// Gives the rules as they are now, and the keys that no background has.
export async function setRules(rules) {
  const body = JSON.stringify({ rules });
  return (await request(library(), { method: "PATCH", body, headers: { "Content-Type": "application/json" } })).json();
}

export async function listBackgrounds(pageToken, pageSize) {
  const query = new URLSearchParams({ pageSize, ...(pageToken ? { pageToken } : {}) });
  return (await request(`${library()}/backgrounds?${query}`)).json();
}

export async function importBackground(id, picture, signal) {
  return (await request(`${library()}/backgrounds/${id}`, { method: "PUT", body: form({ image: picture }), signal })).json();
}

export const deleteBackground = (name) => request(name, { method: "DELETE" });

// As a blob, since an <img> of its own would send no key.
export async function picture(name) {
  return URL.createObjectURL(await (await request(`${name}:image`)).blob());
}
