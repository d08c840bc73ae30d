"""Draws the text on standard input as a terminal, as an SVG that follows the reader's color scheme.

terminal_svg.py TITLE: lines that begin with `$ ` are commands, numbered ones are titles, and `ok:`
is a result.
"""

import re
import sys
from html import escape

FONT_SIZE, LINE, MARGIN = 13, 19, 18
# The advance of a monospaced font is 0.6 em; a little more, for those that are wider.
COLUMN = FONT_SIZE * 0.615
STYLE = """
    text { font: %dpx ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #1f2328; white-space: pre; }
    .command { font-weight: bold; }
    .prompt { fill: #59636e; }
    .result { fill: #1a7f37; }
    .paper { fill: #f6f8fa; stroke: #d1d9e0; }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc; }
      .prompt { fill: #9198a1; }
      .result { fill: #3fb950; }
      .paper { fill: #151b23; stroke: #3d444d; }
    }
""" % FONT_SIZE


def span(class_, text):
    return f'<tspan class="{class_}">{escape(text)}</tspan>'


def styled(line):
    if line.startswith("$ "):
        return span("prompt", "$ ") + span("command", line[2:])
    if re.match(r"\d+\. ", line):
        return span("command", line)
    if result := re.match(r"(\s*)(ok:|✓)(.*)", line):
        return result[1] + span("result", result[2]) + escape(result[3])
    return escape(line)


def main(title):
    lines = [line.rstrip() for line in sys.stdin.read().rstrip().splitlines()]
    width = round(max(map(len, lines)) * COLUMN + 2 * MARGIN)
    height = len(lines) * LINE + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img" aria-labelledby="title">')
    print(f'  <title id="title">{escape(title)}</title>\n  <style>{STYLE}  </style>')
    print(f'  <rect class="paper" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>')
    for number, line in enumerate(lines):
        y = MARGIN + number * LINE + FONT_SIZE
        if line:
            print(f'  <text x="{MARGIN}" y="{y}" xml:space="preserve">{styled(line)}</text>')
    print("</svg>")


main(*sys.argv[1:])
