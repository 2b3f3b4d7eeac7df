"""What surrounds the course on GitHub says what the repository says, and names what is there."""

import json
import re
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()


def read(name):
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_container_runs_the_readme_s_own_commands():
    made = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert made["onCreateCommand"] in README
    assert f"{made['postCreateCommand']} && {made['postAttachCommand']}" in README


def test_the_workflow_publishes_what_ci_has_built_and_driven():
    jobs = read(".github/workflows/course.yml")["jobs"]
    steps = jobs["check"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["bash .ci/run"]
    (upload,) = (step for step in steps if "upload-pages-artifact" in step.get("uses", ""))
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert f"lora_teach page {upload['with']['path']}\n" in run
    assert f"LORA_TEACH_PAGE={upload['with']['path']} pytest -m browser" in run
    assert jobs["publish"]["needs"] == "check"
    page = re.search(r"\[Drag before you install\]\(\.\./\.\./deployments/([\w-]+)\)", "\n".join(README))
    assert page[1] == jobs["publish"]["environment"]["name"]


def test_the_citation_says_what_the_package_says():
    cited, project = read("CITATION.cff"), (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(r'^version = "(.*)"$', project, re.MULTILINE)[1] == cited["version"]
    assert re.search(r'^license = "(.*)"$', project, re.MULTILINE)[1] == cited["license"]
    assert f'name = "{cited["authors"][0]["name"]}"' in project


@pytest.mark.parametrize("name", ["fault", "sentence", "idea"])
def test_a_form_asks_in_questions(name):
    form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert form["name"] and form["description"] and form["labels"] == [name]
    assert all(part["attributes"]["label"] for part in form["body"])
    assert any(part.get("validations", {}).get("required") for part in form["body"])


def test_the_code_of_conduct_has_two_sentences():
    text = (ROOT / ".github" / "CODE_OF_CONDUCT.md").read_text(encoding="utf-8").partition("\n")[2]
    assert len(re.findall(r"\.(\s|$)", text)) == 2
