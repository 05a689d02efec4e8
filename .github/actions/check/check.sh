#!/usr/bin/env bash
# What the Action runs: annotations go to the log, a table to the step's summary, a log of code scanning beside them.
set -uo pipefail
options=(--format github --output "sarif=$ROBSPEC_SARIF" --output "markdown=${RUNNER_TEMP:-/tmp}/robspec.md")
[ -z "${ROBSPEC_DATA:-}" ] || options+=(--data "$ROBSPEC_DATA")
[ -z "${ROBSPEC_BASELINE:-}" ] || options+=(--baseline "$ROBSPEC_BASELINE")
read -r -a more <<< "${ROBSPEC_ARGUMENTS:-}"
robspec check "$ROBSPEC_MODEL" "$ROBSPEC_SPEC" "${options[@]}" ${more[@]+"${more[@]}"}
status=$?
[ ! -f "${RUNNER_TEMP:-/tmp}/robspec.md" ] || cat "${RUNNER_TEMP:-/tmp}/robspec.md" >> "$GITHUB_STEP_SUMMARY"
exit "$status"
