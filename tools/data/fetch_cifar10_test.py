#!/usr/bin/env python3
"""Tests of fetch_cifar10.py on a data set of two images a file, an archive beside it, and an npm that is a script."""

import base64
import contextlib
import errno
import hashlib
import io
import json
import os
import pathlib
import random
import struct
import sys
import tarfile
import tempfile
import unittest
import zlib
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import fetch_cifar10  # pylint: disable=wrong-import-position

IMAGES = 2
ROW = 3 * fetch_cifar10.PIXELS


def paeth(left, up, corner):
    """The predictor as the PNG specification writes it down."""
    p = left + up - corner
    pa, pb, pc = abs(p - left), abs(p - up), abs(p - corner)
    if pa <= pb and pa <= pc:
        return left
    return up if pb <= pc else corner


def filtered(filter_type, row, above):
    result = bytearray([filter_type])
    for i, byte in enumerate(row):
        left = row[i - 3] if i >= 3 else 0
        corner = above[i - 3] if i >= 3 else 0
        guess = [0, left, above[i], (left + above[i]) // 2, paeth(left, above[i], corner)][filter_type]
        result.append((byte - guess) & 255)
    return bytes(result)


def png(rows, filters):
    """A PNG of RGB rows, filtered with `filters` in turn."""
    raw, above = b'', bytes(ROW)
    for i, row in enumerate(rows):
        raw += filtered(filters[i % len(filters)], row, above)
        above = row
    header = struct.pack('>IIBBBBB', fetch_cifar10.PIXELS, len(rows), 8, 2, 0, 0, 0)
    compressed = zlib.compress(raw)
    result = b'\x89PNG\r\n\x1a\n'
    # Two IDAT chunks: a decoder has to join them.
    for kind, body in [(b'IHDR', header), (b'IDAT', compressed[:50]), (b'IDAT', compressed[50:]), (b'IEND', b'')]:
        result += struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
    return result


def planar(row):
    return row[0::3] + row[1::3] + row[2::3]


def tar_gz(contents):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w:gz') as archive:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


class FetchTest(unittest.TestCase):

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(dir=os.environ.get('TEST_TMPDIR'))
        self.addCleanup(scratch.cleanup)
        self.root = pathlib.Path(scratch.name)
        self.cache = self.root / 'cache'
        random.seed(2)

        self.files, pictures, labels = {}, {}, []
        for i, name in enumerate(fetch_cifar10.MD5):
            rows = [random.randbytes(ROW) for _ in range(IMAGES)]
            labels += [(3 * i + n) % 10 for n in range(IMAGES)]
            self.files[name] = b''.join(bytes([label]) + planar(row)
                                        for label, row in zip(labels[-IMAGES:], rows))
            pictures['package/' + name.replace('.bin', '.png')] = png(rows, [1, 4])
        self.archive = tar_gz({'cifar-10-batches-bin/' + name: data for name, data in self.files.items()})
        self.package = tar_gz({
            **pictures,
            'package/train_lables.json': json.dumps(labels[:-IMAGES]).encode(),
            'package/test_lables.json': json.dumps(labels[-IMAGES:]).encode(),
        })
        self.set('MD5', {name: hashlib.md5(data).hexdigest() for name, data in self.files.items()})
        self.set('ARCHIVE_URL', (self.root / 'archive.tar.gz').as_uri())
        self.set('ARCHIVE_SIZE', len(self.archive))
        self.set('ARCHIVE_SHA256', hashlib.sha256(self.archive).hexdigest())
        self.set('NPM_SHA512', base64.b64encode(hashlib.sha512(self.package).digest()).decode())

        # An npm that hands out the files served/1, served/2, ..., one a call; without one, it fails as npm does.
        self.served = self.root / 'served'
        self.served.mkdir()
        tools = self.root / 'tools'
        tools.mkdir()
        npm = tools / 'npm'
        npm.write_text(f'#!/bin/sh\necho "$@" >> "{self.root}/calls"\n'
                       f'cp "{self.served}/$(wc -l < "{self.root}/calls")" package.tgz || {{ echo E404; exit 1; }}\n')
        npm.chmod(0o755)
        self.patch(mock.patch.dict(os.environ, PATH=f'{tools}:{os.environ["PATH"]}'))
        self.output = io.StringIO()
        self.patch(contextlib.redirect_stderr(self.output))

    def patch(self, context):
        context.__enter__()
        self.addCleanup(context.__exit__, None, None, None)

    def set(self, name, value):
        self.patch(mock.patch.object(fetch_cifar10, name, value))

    def serve_archive(self, data):
        (self.root / 'archive.tar.gz').write_bytes(data)

    def serve_npm(self, *packages):
        for i, data in enumerate(packages):
            (self.served / str(i + 1)).write_bytes(data)

    def npm_calls(self):
        calls = self.root / 'calls'
        return len(calls.read_text().splitlines()) if calls.exists() else 0

    def assert_complete(self):
        for name, data in self.files.items():
            self.assertEqual((self.cache / name).read_bytes(), data, name)
        self.assert_clean()

    def assert_nothing_used(self):
        self.assertEqual(list(self.cache.glob('*.bin')), [])
        self.assert_clean()

    def assert_clean(self):
        self.assertEqual(list(self.cache.glob('.tmp-*')), [])

    def ensure(self):
        # The sources' names were taken when the module was loaded, before the URL was patched.
        self.set('SOURCES', [('the archive', 'x', fetch_cifar10.download_archive, fetch_cifar10.records_of_archive),
                             ('the package', 'y', fetch_cifar10.download_npm_package,
                              fetch_cifar10.records_of_npm_package)])
        fetch_cifar10.ensure(self.cache)

    def test_archive(self):
        self.serve_archive(self.archive)
        self.ensure()
        self.assert_complete()
        self.assertEqual(self.npm_calls(), 0)

    def test_unreachable_archive_falls_through_to_npm_at_once(self):
        self.serve_npm(self.package)
        self.ensure()
        self.assert_complete()
        self.assertEqual(self.npm_calls(), 1)
        self.assertIn('not reachable', self.output.getvalue())
        self.assertNotIn('attempt', self.output.getvalue())

    def test_cut_off_archive_is_tried_three_times_and_not_used(self):
        self.serve_archive(self.archive[:-1])
        with self.assertRaisesRegex(fetch_cifar10.FetchError, 'no source had it'):
            self.ensure()
        self.assert_nothing_used()
        self.assertIn(f'attempt 3 of 3: got {len(self.archive) - 1} bytes instead of {len(self.archive)}',
                      self.output.getvalue())

    def test_full_disk_ends_it_at_once(self):
        self.serve_archive(self.archive)
        self.serve_npm(self.package)

        def open_unless_download(path, *arguments, **keywords):
            if pathlib.Path(path).name == 'download' and arguments == ('wb',):
                raise OSError(errno.ENOSPC, 'No space left on device')
            return open(path, *arguments, **keywords)

        with mock.patch.object(fetch_cifar10, 'open', open_unless_download, create=True):
            with self.assertRaisesRegex(OSError, 'No space left'):
                self.ensure()
        self.assert_nothing_used()
        self.assertEqual(self.npm_calls(), 0)

    def test_archive_with_a_wrong_digest_is_not_used(self):
        wrong = bytearray(self.archive)
        wrong[len(wrong) // 2] ^= 1
        self.serve_archive(bytes(wrong))
        self.serve_npm(self.package)
        self.ensure()
        self.assert_complete()
        self.assertIn('its sha256 is', self.output.getvalue())

    def test_cut_off_package_is_retried(self):
        self.serve_npm(self.package[:100], self.package[:-1], self.package)
        self.ensure()
        self.assert_complete()
        self.assertEqual(self.npm_calls(), 3)
        self.assertIn('attempt 2 of 3: its sha512 is', self.output.getvalue())

    def test_cut_off_package_is_never_used(self):
        self.serve_npm(*[self.package[:-1]] * 3)
        with self.assertRaisesRegex(fetch_cifar10.FetchError, 'no source had it'):
            self.ensure()
        self.assert_nothing_used()
        self.assertEqual(self.npm_calls(), 3)

    def test_the_words_of_a_failing_npm_are_shown(self):
        with self.assertRaises(fetch_cifar10.FetchError):
            self.ensure()
        self.assert_nothing_used()
        self.assertRegex(self.output.getvalue(), r'npm failed: (.|\n)*E404')

    def test_stalled_npm_is_ended(self):
        self.set('STALL_SECONDS', 0.5)
        self.set('ATTEMPTS', 1)
        (self.root / 'tools' / 'npm').write_text('#!/bin/sh\nexec sleep 600\n')
        with self.assertRaises(fetch_cifar10.FetchError):
            self.ensure()
        self.assert_nothing_used()
        self.assertIn('nothing came for 0.5 s', self.output.getvalue())

    def test_package_with_other_images_is_not_used(self):
        self.set('MD5', {**fetch_cifar10.MD5, 'test_batch.bin': '0' * 32})
        self.serve_npm(self.package)
        with self.assertRaises(fetch_cifar10.FetchError):
            self.ensure()
        self.assert_nothing_used()
        self.assertIn('test_batch.bin is not what was published', self.output.getvalue())

    def test_second_run_downloads_nothing(self):
        self.serve_npm(self.package)
        self.ensure()
        self.output.truncate(0)
        self.ensure()
        self.assert_complete()
        self.assertEqual(self.npm_calls(), 1)
        self.assertEqual(self.output.getvalue(), '')

    def test_damaged_file_is_fetched_again(self):
        self.serve_archive(self.archive)
        self.ensure()
        (self.cache / 'data_batch_3.bin').write_bytes(self.files['data_batch_3.bin'][:-1])
        self.ensure()
        self.assert_complete()

    def test_left_overs_of_a_killed_run_are_removed(self):
        (self.cache / '.tmp-killed').mkdir(parents=True)
        self.serve_archive(self.archive)
        self.ensure()
        self.assert_complete()

    def test_put_replaces_what_lies_there(self):
        self.serve_archive(self.archive)
        self.ensure()
        folder = self.root / 'out'
        folder.mkdir()
        (folder / 'test_batch.bin').write_bytes(b'old')
        fetch_cifar10.put(self.cache, folder)
        for name, data in self.files.items():
            self.assertEqual((folder / name).read_bytes(), data, name)

    def test_every_png_filter(self):
        rows = [random.randbytes(ROW) for _ in range(10)]
        images = list(fetch_cifar10.images_of_png(png(rows, [0, 1, 2, 3, 4])))
        self.assertEqual(images, [planar(row) for row in rows])


if __name__ == '__main__':
    unittest.main()
