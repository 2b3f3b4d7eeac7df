from tests.notebooks.anatomy import RULES
from tests.notebooks.reading import NOTEBOOKS, Lesson

import pytest


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_anatomy(path, rule):
    problems = [f"{path.name}: {problem}" for problem in rule(Lesson(path))]
    assert not problems, "\n".join(problems)
