#!/usr/bin/env python3
"""Draws how the loss of each block fell: plot_reconstruction.py REPORT.JSON PICTURE.SVG [TITLE]

One panel for each block of the first reconstruct step in a run's report, from the front of the network to its end. The line is the loss
while it learned, the dashed lines the error with everything quantized, before and after.
"""

import html
import json
import pathlib
import sys

COLUMNS, PANEL_WIDTH, PANEL_HEIGHT = 4, 190, 130
LEFT, TOP, GAP = 12, 44, 14
LOSS, BEFORE, AFTER = '#2471a3', '#c0392b', '#1e8449'


def main(report, picture, title):
    with open(report, encoding='utf-8') as file:
        steps = json.load(file)['steps']
    blocks = next((step['blocks'] for step in steps if step['step'] == 'reconstruct' and 'blocks' in step), None)
    if not blocks:
        sys.exit(f'{report}: holds no reconstruct step')
    picture.write_text(svg(blocks, title), encoding='utf-8')


def panel(block, x0, y0):
    losses = block['losses']
    highest = 1.05 * max([block['start_error'], block['end_error']] + losses) or 1
    plot_top, plot_height = y0 + 20, PANEL_HEIGHT - 20 - GAP

    def y(value):
        return plot_top + plot_height * (1 - value / highest)

    def x(i):
        return x0 + (PANEL_WIDTH - GAP) * i / max(1, len(losses) - 1)

    points = ' '.join(f'{x(i):.1f},{y(loss):.1f}' for i, loss in enumerate(losses))
    parts = [f'<text x="{x0}" y="{y0 + 12}">{html.escape(block["block"].split(" to ")[0])}</text>',
             f'<line x1="{x0}" x2="{x0 + PANEL_WIDTH - GAP}" y1="{y(0):.1f}" y2="{y(0):.1f}" stroke="#cccccc"/>']
    for value, colour in ((block['start_error'], BEFORE), (block['end_error'], AFTER)):
        parts.append(f'<line x1="{x0}" x2="{x0 + PANEL_WIDTH - GAP}" y1="{y(value):.1f}" y2="{y(value):.1f}" '
                     f'stroke="{colour}" stroke-dasharray="4 3"/>')
    parts.append(f'<polyline fill="none" stroke="{LOSS}" stroke-width="1.5" points="{points}"/>')
    parts.append(f'<text x="{x0 + PANEL_WIDTH - GAP}" y="{y0 + 12}" text-anchor="end" fill="#555555">'
                 f'{block["start_error"]:.3g} → {block["end_error"]:.3g}</text>')
    return parts


def svg(blocks, title):
    rows = (len(blocks) + COLUMNS - 1) // COLUMNS
    width, height = 2 * LEFT + COLUMNS * PANEL_WIDTH, TOP + rows * PANEL_HEIGHT + GAP
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11">',
             f'<rect width="{width}" height="{height}" fill="white"/>',
             f'<text x="{LEFT}" y="18" font-size="15">{html.escape(title)}</text>',
             f'<text x="{LEFT}" y="34"><tspan fill="{BEFORE}">error before</tspan>, <tspan fill="{LOSS}">loss while learning'
             f'</tspan>, <tspan fill="{AFTER}">error after</tspan></text>']
    for i, block in enumerate(blocks):
        parts += panel(block, LEFT + i % COLUMNS * PANEL_WIDTH, TOP + i // COLUMNS * PANEL_HEIGHT)
    return '\n'.join(parts + ['</svg>', ''])


if __name__ == '__main__':
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3] if len(sys.argv) == 4 else sys.argv[1])
