#!/usr/bin/env python3
"""How many of Megatron-LM's own training configurations moe4j takes as they stand.

Reads the functional tests' model_config.yaml files of a Megatron-LM checkout, makes of each the
command line that Megatron's test runner makes, and asks `moe4j check --stdin` about all of them at
once. Only flags are judged: paths are made up, and nothing is trained. Needs PyYAML.

    python3 docs/peers/megatron_lines.py MEGATRON_LM ./moe4j [--per-line]
"""

import argparse
import collections
import json
import math
import pathlib
import re
import subprocess

import yaml

MODELS = ("gpt", "moe", "mixtral")
TESTS = "tests/functional_tests/test_cases"


def ranks(name, recipes, line):
    """Processes of a test: those of the recipe that lists it, or 8, or as many as its sizes need."""

    def size(flag, otherwise=1):
        return int(line[line.index(flag) + 1]) if flag in line else otherwise

    tensor = size("--tensor-model-parallel-size")
    dense = tensor * size("--context-parallel-size")
    experts = size("--expert-model-parallel-size") * size("--expert-tensor-parallel-size", tensor)
    needed = size("--pipeline-model-parallel-size") * math.lcm(dense, experts)
    return recipes.get(name, math.lcm(8, needed))


def read_recipes(root):
    """Nodes x gpus by test; those for H100 count before those for GB200, which list others too."""
    found = {}
    for machine in ("h100", "gb200"):
        for path in sorted((root / "tests/test_utils/recipes" / machine).glob("*.yaml")):
            recipe = yaml.safe_load(path.read_text())
            spec = recipe.get("spec", {})
            size = spec.get("nodes", 1) * spec.get("gpus", 8)
            for product in recipe.get("products", []):
                cases = product.get("test_case", [])
                for case in [cases] if isinstance(cases, str) else cases:
                    found.setdefault(case, size)
    return found


def words(arguments):
    """As the runner has it: `true` is a switch, [a b] and "a b" with spaces are lists."""
    line = []
    for flag, value in arguments.items():
        if value is False or value == "":
            continue
        line.append(flag)
        if value is True:
            continue
        text = str(value).replace("$REPEAT", "1").replace("${REPEAT}", "1")
        text = re.sub(r"\$\{?(\w+)\}?", r"/\1", text)
        if re.fullmatch(r"\[[^\]*]*\]", text):
            line += text[1:-1].replace(",", " ").split()
        elif re.fullmatch(r"[\d ]+", text) and flag == "--hierarchical-context-parallel-sizes":
            line += text.split()
        else:
            line.append(text)
    return line


def configurations(root):
    for model in MODELS:
        for path in sorted((root / TESTS / model).glob("*/model_config.yaml")):
            configuration = yaml.safe_load(path.read_text())
            arguments = configuration.get("MODEL_ARGS")
            inference = "inference" in path.parent.name or "grpo" in path.parent.name
            if isinstance(arguments, dict) and not inference:
                yield f"{model}/{path.parent.name}", words(arguments)


def blocking(sentence):
    """The flag that a sentence is about, with its value where the table knows one."""
    found = re.search(r"--[\w-]+(?= )( \d+(?= is a flag))?|--[\w-]+", sentence)
    return found.group(0).strip() if found else sentence


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("megatron", type=pathlib.Path, help="a checkout of Megatron-LM")
    parser.add_argument("moe4j", nargs="+", help="the command moe4j")
    parser.add_argument("--per-line", action="store_true", help="print each configuration's answer")
    options = parser.parse_args()
    recipes = read_recipes(options.megatron)
    cases = list(configurations(options.megatron))
    lines = [
        json.dumps(
            {"args": ["pretrain-gpt", *line], "processes": ranks(name.split("/")[1], recipes, line)}
        )
        for name, line in cases
    ]
    done = subprocess.run(
        [*options.moe4j, "check", "--stdin"],
        input="\n".join(lines) + "\n",
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if len(answers) != len(cases):
        raise SystemExit(f"{len(cases)} lines were asked about and {len(answers)} answered")
    taken = sum(answer["taken"] for answer in answers)
    print(f"{taken} of {len(cases)} configurations are taken as they stand\n")
    count, alone, reasons = collections.Counter(), collections.Counter(), {}
    for answer in answers:
        flags = {blocking(sentence): sentence for sentence in answer["refused"]}
        count.update(flags.keys())
        reasons.update(flags)
        if len(flags) == 1:
            alone.update(flags.keys())
    print("| refused | in | alone in | as in |\n|---|---:|---:|---|")
    for flag, number in sorted(count.items(), key=lambda item: (-item[1], item[0])):
        print(f"| `{flag}` | {number} | {alone[flag]} | {reasons[flag]} |")
    if options.per_line:
        for (name, _), answer in zip(cases, answers):
            print(f"\n{name}: {'taken' if answer['taken'] else 'refused'}")
            for sentence in answer["refused"]:
                print(f"  {sentence}")


if __name__ == "__main__":
    main()
