"""What Helm says of a chart and of values: reads a list of cases as JSON, and prints one of answers."""

import json
import sys

import helm_python as helm
from helm_python.chart import lint, values_from_yaml


def answer(chart, folder, case):
    values = values_from_yaml(case["values"])
    try:
        made = chart.render(values, name=case["release"], namespace=case["namespace"])
    except helm.HelmError as error:
        return {"error": str(error)}
    found = lint(folder, values, strict=True)
    messages = [message["error"] for message in found["messages"] if message["severity"] > 1]
    return {"made": made, "lint": messages + found["errors"]}


def main():
    folder = sys.argv[1]
    with helm.Chart.load(folder) as chart:
        json.dump([answer(chart, folder, case) for case in json.load(sys.stdin)], sys.stdout)


main()
