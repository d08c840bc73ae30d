"""Classifies every code block of README.md and docs/ by its info string, and validates it.

| info string         | class                                                                     |
| ---                 | ---                                                                       |
| `sh`                | executed by walk_through.rs, which names the page                         |
| `sh NAME`           | executed by another test, which names the page and the block              |
| `sh checked`        | validated: bash and shellcheck; not executed, because it needs something  |
|                     | that a test has not. An indented block is the same.                       |
| `console`           | validated: the commands after `$`; the output is from a real run          |
| `yaml`              | validated: a manifest; a test has the API server accept it (dry run)      |
| `yaml values`       | validated: Helm renders the chart with them                               |
| `yaml parsed`, `json` | validated: parsed                                                       |
| `text`              | an illustration: output, a shape of a request, or a picture               |

Generated blocks show files that a test executes. Prints the numbers; `--list` prints each block.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml
from markdown_it import MarkdownIt

EXECUTED, VALIDATED, ILLUSTRATION = "executed", "validated", "illustration"
WALK_THROUGH = "tests/cluster/shared/walk_through.rs"
# Blocks that other tests read: page, info string, test.
READ_BY_TESTS = [
    ("README.md", "console", WALK_THROUGH),
    ("README.md", "yaml", "tests/it/docs.rs"),
    ("docs/gitops.md", "lua", "tests/gitops/lib.sh"),
    ("docs/secret-scanning/examples.md", "credentials", "tests/it/secret_scanning.rs"),
    ("docs/secret-scanning/examples.md", "look-alikes", "tests/it/secret_scanning.rs"),
    ("docs/secret-scanning/examples.md", "neither", "tests/it/secret_scanning.rs"),
]
# Generated blocks, by the beginning of their names, and what executes the files that they show.
GENERATED = {"examples/integrations/": "tests/integrations/run", "alerts": "tests/outside/run"}
GENERATED_COMMENT = re.compile(r"<!-- (\S+): written by")
# Variables of other blocks, and files that exist elsewhere.
NOT_IN_BLOCKS = "SC1090,SC1091,SC2034,SC2154"


@dataclass
class Block:
    page: str
    line: int
    info: str
    text: str
    comment: str

    def __str__(self):
        return f"{self.page}:{self.line}"


def blocks(page):
    previous = ""
    for token in MarkdownIt("commonmark").enable("table").parse(Path(page).read_text()):
        if token.type in ("fence", "code_block"):
            info = token.info.strip() if token.type == "fence" else "sh checked"
            yield Block(page, token.map[0] + 1, info, token.content, previous)
        previous = token.content if token.type == "html_block" else ""


def named_in_test(block):
    """The test that has the names of a page and of its block."""
    name = block.info.removeprefix("sh ")
    for path in Path("tests").rglob("*.rs"):
        text = path.read_text()
        if f'{block.page}"' in text and f'"{name}"' in text:
            return path
    return None


def executed_by(block, walked):
    """The test that executes a block, if there is one."""
    if generated := GENERATED_COMMENT.search(block.comment):
        return next((test for name, test in GENERATED.items() if generated[1].startswith(name)), None)
    if block.info == "sh" and block.page in walked:
        return WALK_THROUGH
    if block.info.startswith("sh ") and block.info != "sh checked":
        return named_in_test(block)
    # Single lines, compared with those that the test executes.
    if block.page == "docs/gitops.md" and block.info == "sh checked" and block.text.startswith("kubectl "):
        return "tests/gitops/run"
    return next((test for page, info, test in READ_BY_TESTS if (page, info) == (block.page, block.info)), None)


def commands(block):
    """The shell script of a block, or None."""
    if block.info.split(" ")[0] == "sh":
        return block.text
    if block.info != "console":
        return None
    script, continued = [], False
    for line in block.text.splitlines():
        if line.startswith("$ ") or continued:
            script.append(line.removeprefix("$ "))
            continued = line.endswith("\\")
    return "\n".join(script) + "\n"


def shell_errors(checked):
    """Runs shellcheck, which parses like bash, over all of them at once."""
    with tempfile.TemporaryDirectory() as folder:
        names = {}
        for block in checked:
            path = Path(folder, str(block).replace("/", "_"))
            path.write_text(commands(block))
            names[str(path)] = block
        arguments = ["--shell=bash", "--format=json", f"--exclude={NOT_IN_BLOCKS}"]
        found = subprocess.run([os.environ["SHELLCHECK"], *arguments, *names], capture_output=True, text=True)
    for finding in json.loads(found.stdout):
        block = names[finding["file"]]
        yield f"{block}: line {finding['line']} of the block: SC{finding['code']}: {finding['message']}"


def values_error(block):
    """Whether Helm renders the chart with these values."""
    command = [os.environ["HELM"], "template", "anon-operator", "charts/anon-operator", "--values=-"]
    command += ["--set=publicUrl=https://anon.example.com"]
    done = subprocess.run(command, input=block.text, capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else None


def data_error(block):
    """Why a block of data is not valid, or None. A manifest has a kind."""
    if block.info.split(" ")[0] not in ("yaml", "json"):
        return None
    try:
        if block.info == "json":
            json.loads(block.text)
            return None
        documents = list(yaml.safe_load_all(block.text))
    except (ValueError, yaml.YAMLError) as error:
        return str(error)
    if block.info == "yaml" and not all({"apiVersion", "kind"} <= set(it) for it in documents):
        return "no manifest: mark it as `yaml values` or `yaml parsed`"
    return values_error(block) if block.info == "yaml values" else None


def classify(block, walked):
    """The class of a block and why, or None."""
    if test := executed_by(block, walked):
        return EXECUTED, test
    match block.info:
        case "sh checked" | "console":
            return VALIDATED, "shellcheck"
        case "yaml":
            return VALIDATED, "tests/cluster/shared/examples.rs"
        case "yaml values":
            return VALIDATED, "helm template"
        case "yaml parsed" | "json":
            return VALIDATED, "parsed"
        case "text":
            return ILLUSTRATION, ""
    return None


def main():
    pages = ["README.md", *sorted(str(path) for path in Path("docs").rglob("*.md"))]
    walk_through = Path(WALK_THROUGH).read_text()
    walked = [page for page in pages if f'"{page}"' in walk_through]
    found = [block for page in pages for block in blocks(page)]
    errors, counts = [], Counter()
    for block in found:
        classified = classify(block, walked)
        if not classified:
            errors.append(f"{block}: `{block.info}`: no test executes it, and dev/lint/snippets.py has no such mark")
            continue
        counts[classified[0]] += 1
        if "--list" in sys.argv:
            print(f"{str(block):42} {block.info:12}", *classified)
        if classified[0] == VALIDATED and (error := data_error(block)):
            errors.append(f"{block}: {error}")
    errors += shell_errors([block for block in found if commands(block) is not None])
    if errors:
        sys.exit("\n".join(errors) + f"\nsnippets: {len(errors)} errors")
    numbers = ", ".join(f"{counts[name]} {name}" for name in (EXECUTED, VALIDATED))
    print(f"snippets: {numbers}, {counts[ILLUSTRATION]} illustrations")


main()
