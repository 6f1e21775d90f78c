from deploy.env_example import PATH, render


def test_the_example_names_every_setting_as_it_is() -> None:
    assert PATH.read_text() == render(), "run make env-example"
