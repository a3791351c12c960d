#!/usr/bin/env python3
"""Tests of plot_history.py on a history of two epochs."""

import os
import pathlib
import sys
import tempfile
import unittest
import xml.etree.ElementTree

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import plot_history  # pylint: disable=wrong-import-position

HEAD = 'epoch\tlearning_rate\ttrain_loss\ttrain_top1\tvalidation_top1\n'
SVG = '{http://www.w3.org/2000/svg}'


class PlotHistoryTest(unittest.TestCase):

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(dir=os.environ.get('TEST_TMPDIR'))
        self.addCleanup(scratch.cleanup)
        self.history = pathlib.Path(scratch.name) / 'history.tsv'
        self.picture = pathlib.Path(scratch.name) / 'picture.svg'

    def test_draws_each_curve_between_its_ends(self):
        self.history.write_text(HEAD + '1\t0.1\t2.0\t0.5\t0.6\n2\t0.05\t1.0\t1.0\t0.75\n')
        plot_history.main(self.history, self.picture, 'a < b')
        root = xml.etree.ElementTree.parse(self.picture).getroot()
        self.assertIn('a < b', [text.text for text in root.iter(SVG + 'text')])
        curves = {line.get('stroke'): line.get('points') for line in root.iter(SVG + 'polyline')}
        left, right = plot_history.LEFT, plot_history.WIDTH - plot_history.RIGHT
        top, bottom = plot_history.TOP, plot_history.HEIGHT - plot_history.BOTTOM
        # The axis goes from 50 to 100 per cent.
        self.assertEqual(curves[plot_history.COLOURS['training top-1']], f'{left}.0,{bottom}.0 {right}.0,{top}.0')
        self.assertEqual(curves[plot_history.COLOURS['held-out top-1']],
                         f'{left}.0,{bottom - 0.2 * (bottom - top):.1f} {right}.0,{(bottom + top) / 2:.1f}')
        self.assertEqual(len(curves), 4)

    def test_a_history_without_epochs_is_refused(self):
        self.history.write_text(HEAD)
        with self.assertRaisesRegex(SystemExit, 'holds no epoch'):
            plot_history.main(self.history, self.picture, '')
        self.assertFalse(self.picture.exists())


if __name__ == '__main__':
    unittest.main()
