#!/usr/bin/env python3
"""Draws a training's history.tsv as an SVG picture: plot_history.py HISTORY.TSV PICTURE.SVG [TITLE]

Left axis: top-1 accuracy in percent, on the training images as they were augmented and on those held out. Right axis: the
training loss. The learning rate is drawn along the bottom, without an axis.
"""

import csv
import html
import pathlib
import sys

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 56, 56, 44, 48
COLOURS = {'held-out top-1': '#c0392b', 'training top-1': '#2471a3', 'loss': '#7f8c8d', 'learning rate': '#b7950b'}


def main(history, picture, title):
    with open(history, encoding='utf-8', newline='') as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file, delimiter='\t')]
    if not rows:
        sys.exit(f'{history}: holds no epoch')
    picture.write_text(svg(rows, title), encoding='utf-8')


def svg(rows, title):
    first, last = rows[0]['epoch'], rows[-1]['epoch']
    most_loss = max(row['train_loss'] for row in rows) * 1.02
    most_rate = max(row['learning_rate'] for row in rows) or 1
    lowest = 10 * (min(100 * min(row['train_top1'], row['validation_top1']) for row in rows) // 10)
    plot_width, plot_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(epoch):
        return LEFT + plot_width * (epoch - first) / max(1, last - first)

    def y(fraction):
        return TOP + plot_height * (1 - fraction)

    def line(name, fraction, width=2, dashes=''):
        points = ' '.join(f'{x(row["epoch"]):.1f},{y(fraction(row)):.1f}' for row in rows)
        dashes = f' stroke-dasharray="{dashes}"' if dashes else ''
        return f'<polyline fill="none" stroke="{COLOURS[name]}" stroke-width="{width}"{dashes} points="{points}"/>'

    def accuracy(row, name):
        return (100 * row[name] - lowest) / (100 - lowest)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
             f'<text x="{LEFT}" y="20" font-size="15">{html.escape(title)}</text>']
    for percent in range(int(lowest), 101, 10):
        height = y((percent - lowest) / (100 - lowest))
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{percent} %</text>')
    for tenth in range(0, 6):
        height = y(tenth / 5)
        parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{height + 4:.1f}" fill="{COLOURS["loss"]}">'
                     f'{most_loss * tenth / 5:.2f}</text>')
    step = max(1, round((last - first) / 10))
    for epoch in range(int(first), int(last) + 1, step):
        parts.append(f'<text x="{x(epoch):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{epoch}</text>')
    parts.append(f'<text x="{LEFT + plot_width / 2}" y="{HEIGHT - 10}" text-anchor="middle">epoch</text>')
    parts.append(line('learning rate', lambda row: 0.15 * row['learning_rate'] / most_rate, 1.5, '2 3'))
    parts.append(line('loss', lambda row: row['train_loss'] / most_loss, 1.5, '6 3'))
    parts.append(line('training top-1', lambda row: accuracy(row, 'train_top1')))
    parts.append(line('held-out top-1', lambda row: accuracy(row, 'validation_top1')))
    position = WIDTH - RIGHT
    for name in reversed(COLOURS):
        parts.append(f'<text x="{position}" y="38" text-anchor="end" fill="{COLOURS[name]}">{name}</text>')
        position -= 8 * len(name) + 14
    return '\n'.join(parts + ['</svg>', ''])


if __name__ == '__main__':
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3] if len(sys.argv) == 4 else sys.argv[1])
