"""The page of `serve --compare` in a headless browser: two answers, coloured tokens, the first difference, and what one sees
in figures. test_page.py PROGRAM; exit status 77, saying so, without Debian's chromium."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

PROGRAM = sys.argv[1]
MODEL = str(pathlib.Path(__file__).parents[1] / "models" / "glm-flash-tiny-bf16.gguf")


def serve(small, *flags):
    process = subprocess.Popen([PROGRAM, "serve", "-m", small, "--compare", MODEL, "--port", "0", "-c", "256", *flags],
                               stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if found := re.search(r"listening on (\S+)", line):
            return process, found.group(1)
    sys.exit("the server did not start")


def dom(browser, url, folder):
    return subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile",
                           "--virtual-time-budget=60000", "--dump-dom", url],
                          capture_output=True, text=True, timeout=300, check=True).stdout


def main():
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not browser:
        print("skipped: no chromium; apt-get install chromium")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        small = os.path.join(folder, "small.gguf")
        subprocess.run([PROGRAM, "quantize", MODEL, small, "Q2_K"], check=True, capture_output=True)
        process, url = serve(small)
        try:
            page = dom(browser, url + "/#The%20king%20of%20the", folder)
        finally:
            process.terminate()
            assert process.wait(60) == 0
        tokens = re.findall(r'<span class="token([^"]*)" data-divergence="([^"]*)"[^>]*style="background: [^"]+"|'
                            r'<span class="token([^"]*)" style="background: [^"]+" data-divergence="([^"]*)"', page)
        classes = [a or c for a, _, c, _ in tokens]
        divergences = [float(b or d) for _, b, _, d in tokens]
        assert len(tokens) >= 20, page
        assert max(divergences) > 0 and min(divergences) >= 0
        assert sum("first" in names for names in classes) in (1, 2), "the first difference is marked"
        assert re.search(r"The answers differ from token \d+ on\.", page)
        assert "small: the likeliest token is the same at" in page
        assert 'id="error" role="alert"></p>' in page
    print(f"{len(tokens)} tokens, divergence up to {max(divergences):.2f}")


main()
