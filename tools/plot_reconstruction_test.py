#!/usr/bin/env python3
"""Tests of plot_reconstruction.py on a report of two blocks."""

import json
import os
import pathlib
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import plot_reconstruction  # pylint: disable=wrong-import-position

SVG = '{http://www.w3.org/2000/svg}'


class PlotReconstructionTest(unittest.TestCase):

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(dir=os.environ.get('TEST_TMPDIR'))
        self.addCleanup(scratch.cleanup)
        self.report = pathlib.Path(scratch.name) / 'report.json'
        self.picture = pathlib.Path(scratch.name) / 'picture.svg'

    def test_draws_a_panel_for_each_block(self):
        blocks = [{'block': 'conv1', 'start_error': 2.0, 'end_error': 1.0, 'losses': [1.5, 0.0]},
                  {'block': 'a < b to c', 'start_error': 0.0, 'end_error': 0.0, 'losses': [0.0]}]
        self.report.write_text(json.dumps({'steps': [{'step': 'fold'}, {'step': 'reconstruct', 'blocks': blocks}]}))
        plot_reconstruction.main(self.report, self.picture, 'a title')
        root = xml.etree.ElementTree.parse(self.picture).getroot()
        texts = [text.text for text in root.iter(SVG + 'text')]
        self.assertIn('a < b', texts)
        self.assertIn('2 → 1', texts)
        curves = [line.get('points') for line in root.iter(SVG + 'polyline')]
        self.assertEqual(len(curves), 2)
        # The highest value is 2, and 5 per cent above it is the panel's end; the last loss, 0, lies on the axis.
        top, height = plot_reconstruction.TOP + 20, plot_reconstruction.PANEL_HEIGHT - 20 - plot_reconstruction.GAP
        right = plot_reconstruction.LEFT + plot_reconstruction.PANEL_WIDTH - plot_reconstruction.GAP
        self.assertEqual(curves[0], f'{plot_reconstruction.LEFT}.0,{top + height * (1 - 1.5 / 2.1):.1f} '
                                    f'{right}.0,{top + height}.0')

    def test_a_report_without_the_step_is_refused(self):
        self.report.write_text('{"steps": []}')
        with self.assertRaisesRegex(SystemExit, 'holds no reconstruct step'):
            plot_reconstruction.main(self.report, self.picture, '')
        self.assertFalse(self.picture.exists())


if __name__ == '__main__':
    unittest.main()
