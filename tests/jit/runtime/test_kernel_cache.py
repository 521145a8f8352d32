"""The kernel cache: what is stored comes back or is a miss, whatever happens to files, disk and other processes."""

import errno
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from ingot.jit.runtime import cache as cache_module
from ingot.jit.runtime.cache import Cache, cache_key, default_cache, default_directory, default_limit

KEY = cache_key("a kernel")
BLOB = bytes(range(256)) * 3


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "kernels")


def the_file(cache: Cache) -> Path:
    (path,) = cache.directory.glob("*.kernel")
    return path


def test_key_depends_on_parts_their_boundaries_and_their_types() -> None:
    keys = [cache_key(), cache_key(""), cache_key("ab"), cache_key("a", "b"), cache_key("", "ab"), cache_key(b"ab")]
    assert len(set(keys)) == len(keys)
    assert cache_key("ab", b"\0") == cache_key("ab", b"\0")
    assert all(len(key) == 64 for key in keys)


@pytest.mark.parametrize("blob", [b"", b"x", BLOB, bytes(1_000_003)])
def test_what_is_put_is_got(cache: Cache, blob: bytes) -> None:
    assert cache.get(KEY) is None
    cache.put(KEY, blob)
    assert cache.get(KEY) == blob
    assert Cache(cache.directory).get(KEY) == blob


def test_put_replaces(cache: Cache) -> None:
    cache.put(KEY, b"old")
    cache.put(KEY, b"new")
    assert cache.get(KEY) == b"new"
    assert cache.info().entries == 1


@pytest.mark.parametrize(
    "key", ["", "abc", "../../etc/passwd", KEY.upper(), KEY + "0", KEY[:-1] + "/", KEY[:-1] + "\n"]
)
def test_keys_that_cache_key_cannot_give_are_refused(cache: Cache, key: str) -> None:
    with pytest.raises(ValueError, match="64 lower-case hexadecimal"):
        cache.get(key)
    with pytest.raises(ValueError, match="64 lower-case hexadecimal"):
        cache.put(key, BLOB)


@pytest.mark.parametrize(
    "position", [0, 7, 8, 11, 12, 19, 20, 51, 52, 83, 84, 127, 128, 128 + 400, 128 + len(BLOB) - 1]
)
@pytest.mark.parametrize("flip", [0x01, 0x80])
def test_a_flipped_bit_anywhere_is_a_miss_and_removes_the_file(cache: Cache, position: int, flip: int) -> None:
    cache.put(KEY, BLOB)
    path = the_file(cache)
    data = bytearray(path.read_bytes())
    assert len(data) == 128 + len(BLOB)
    data[position] ^= flip
    path.write_bytes(data)
    assert cache.get(KEY) is None
    assert not path.exists()
    cache.put(KEY, BLOB)
    assert cache.get(KEY) == BLOB


@pytest.mark.parametrize("length", [0, 1, 83, 127, 128, 128 + 100, 128 + len(BLOB) - 1])
def test_a_truncated_file_is_a_miss(cache: Cache, length: int) -> None:
    cache.put(KEY, BLOB)
    path = the_file(cache)
    path.write_bytes(path.read_bytes()[:length])
    assert cache.get(KEY) is None
    assert not path.exists()


def test_a_file_with_something_appended_is_a_miss(cache: Cache) -> None:
    cache.put(KEY, BLOB)
    with the_file(cache).open("ab") as file:
        file.write(b"\0")
    assert cache.get(KEY) is None


def test_a_file_renamed_to_another_key_is_a_miss(cache: Cache) -> None:
    cache.put(KEY, BLOB)
    other = cache_key("another kernel")
    path = the_file(cache)
    path.rename(path.with_name(path.name.replace(KEY, other)))
    assert cache.get(other) is None
    assert cache.get(KEY) is None


def test_a_directory_in_place_of_the_file_is_a_miss(cache: Cache) -> None:
    cache.put(KEY, BLOB)
    path = the_file(cache)
    path.unlink()
    path.mkdir()
    with pytest.warns(RuntimeWarning, match="cannot read"):
        assert cache.get(KEY) is None


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
def test_the_directory_and_the_files_are_private(cache: Cache) -> None:
    previous = os.umask(0)
    try:
        cache.put(KEY, BLOB)
    finally:
        os.umask(previous)
    assert cache.directory.stat().st_mode & 0o777 == 0o700
    assert the_file(cache).stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")
@pytest.mark.parametrize("mode", [0o770, 0o707, 0o1777])
def test_a_directory_that_others_can_write_is_not_used(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    cache = Cache(tmp_path)
    with pytest.warns(RuntimeWarning, match="can be written by other users"):
        cache.put(KEY, BLOB)
    assert cache.get(KEY) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX ownership")
def test_a_directory_of_another_user_is_not_used(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.put(KEY, BLOB)
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(cache.directory).st_uid + 1)
    stranger = Cache(cache.directory)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        assert stranger.get(KEY) is None
    stranger.put(KEY, b"theirs")
    monkeypatch.undo()
    assert cache.get(KEY) == BLOB


def test_a_file_in_place_of_the_directory_gives_one_warning(tmp_path: Path) -> None:
    (tmp_path / "kernels").write_text("not a directory")
    cache = Cache(tmp_path / "kernels")
    with pytest.warns(RuntimeWarning, match="INGOT_CACHE_DIR") as caught:
        cache.put(KEY, BLOB)
        cache.put(KEY, BLOB)
        assert cache.get(KEY) is None
    assert len(caught) == 1


@pytest.mark.parametrize("failing", ["mkdir", "open", "replace"])
@pytest.mark.parametrize("code", [errno.EACCES, errno.ENOSPC, errno.EROFS])
def test_a_disk_that_cannot_be_written_gives_one_warning_and_no_error(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, failing: str, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path if failing == "mkdir" else os, failing, fail)
    with pytest.warns(RuntimeWarning, match="kernel cache") as caught:
        cache.put(KEY, BLOB)
        cache.put(cache_key("other"), BLOB)
    assert len(caught) == 1
    monkeypatch.undo()
    if cache.directory.exists():
        assert list(cache.directory.iterdir()) == []
    assert cache.get(KEY) is None


def test_an_interrupt_while_writing_leaves_nothing_behind(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cache.put(KEY, BLOB)
    assert list(cache.directory.iterdir()) == []


def test_a_directory_removed_under_us_is_made_again(cache: Cache) -> None:
    cache.put(KEY, BLOB)
    the_file(cache).unlink()
    cache.directory.rmdir()
    assert cache.get(KEY) is None
    cache.put(KEY, BLOB)
    cache.put(KEY, BLOB)
    assert cache.get(KEY) == BLOB


def test_the_least_recently_used_go_first(tmp_path: Path) -> None:
    keys = [cache_key(str(i)) for i in range(10)]
    cache = Cache(tmp_path / "kernels", limit=10 * (128 + 1000))
    for age, key in enumerate(keys):
        cache.put(key, bytes(1000))
        os.utime(cache.directory / f"{key}.kernel", (1e9 + age, 1e9 + age))
    assert cache.get(keys[0]) is not None  # used now, so it is the last to go
    newest = cache_key("newest")
    cache.put(newest, bytes(1000))
    held = [key for key in [*keys, newest] if cache.get(key) is not None]
    assert held == [keys[0], *keys[3:], newest]
    assert cache.info().bytes <= cache.limit


def test_many_puts_stay_under_the_limit_even_with_a_second_writer(tmp_path: Path) -> None:
    first, second = (Cache(tmp_path / "kernels", limit=20_000) for _ in range(2))
    for i in range(100):
        (first if i % 3 else second).put(cache_key(str(i)), bytes(997))
        assert first.get(cache_key(str(i))) is not None, "the newest entry was evicted"
    # Each of the two knows only of its own puts until it looks again.
    assert first.info().bytes <= 2 * first.limit


def test_an_entry_larger_than_the_limit_is_not_stored(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "kernels", limit=1000)
    cache.put(KEY, b"small")
    cache.put(cache_key("large"), bytes(1000))
    assert cache.get(cache_key("large")) is None
    assert cache.get(KEY) == b"small"
    nothing = Cache(tmp_path / "none", limit=0)
    nothing.put(KEY, b"")
    assert nothing.get(KEY) is None


def test_stale_temporary_files_are_swept_and_fresh_ones_are_not(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "kernels", limit=2000)
    cache.put(KEY, b"")
    stale, fresh = cache.directory / ".dead-1-0.tmp", cache.directory / ".alive-2-0.tmp"
    stale.touch()
    os.utime(stale, (1e9, 1e9))
    fresh.touch()
    for i in range(3):
        cache.put(cache_key(str(i)), bytes(900))
    assert not stale.exists()
    assert fresh.exists()


def test_info_and_clear_leave_other_files_alone(cache: Cache) -> None:
    assert cache.info().entries == cache.clear() == 0
    for i in range(3):
        cache.put(cache_key(str(i)), bytes(i))
    note = cache.directory / "README.txt"
    note.write_text("mine")
    (cache.directory / ".left-over.tmp").touch()
    info = cache.info()
    assert (info.entries, info.bytes, info.directory) == (3, 3 * 128 + 3, cache.directory)
    assert cache.clear() == 3
    assert list(cache.directory.iterdir()) == [note]
    assert cache.get(cache_key("0")) is None


WRITER = """
import sys
from ingot.jit.runtime.cache import Cache
cache, key = Cache(sys.argv[1]), sys.argv[2]
blobs = [bytes([i]) * (1 + 5000 * i) for i in range(4)]
for i in range(40):
    cache.put(key, blobs[(i + int(sys.argv[3])) % 4])
    got = cache.get(key)
    assert got is None or got in blobs, len(got)
    assert got is not None, "a reader saw a torn file"
"""


def test_processes_writing_the_same_key_never_show_a_torn_file(cache: Cache) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        writers = [
            subprocess.Popen(
                [sys.executable, "-W", "error", "-c", WRITER, str(cache.directory), KEY, str(i)], stderr=subprocess.PIPE
            )
            for i in range(3)
        ]
        results = [writer.communicate(timeout=60)[1] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0], results
    blob = cache.get(KEY)
    assert blob is not None and len(blob) % 5000 == 1
    assert [path.name for path in cache.directory.iterdir()] == [f"{KEY}.kernel"]


def test_the_environment_chooses_directory_and_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "here"))
    monkeypatch.setenv("INGOT_CACHE_LIMIT", "3M")
    cache = default_cache()
    assert (cache.directory, cache.limit) == (tmp_path / "here", 3 << 20)
    assert default_cache() is cache
    monkeypatch.setenv("INGOT_CACHE_DIR", str(tmp_path / "there"))
    assert default_cache().directory == tmp_path / "there"


@pytest.mark.parametrize(
    ("text", "limit"), [("", 1 << 30), ("0", 0), ("12345", 12345), ("2k", 2048), ("5 MiB", 5 << 20), ("1G", 1 << 30)]
)
def test_limits(monkeypatch: pytest.MonkeyPatch, text: str, limit: int) -> None:
    monkeypatch.setenv("INGOT_CACHE_LIMIT", text)
    assert default_limit() == limit


@pytest.mark.parametrize("text", ["-1", "lots", "1T", "1.5G"])
def test_limits_that_are_not_sizes(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("INGOT_CACHE_LIMIT", text)
    with pytest.raises(ValueError, match="INGOT_CACHE_LIMIT"):
        default_limit()
    with pytest.raises(ValueError, match="limit"):
        Cache("nowhere", limit=-1)


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x/cache"}, "/x/cache/ingot"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/ingot"),
        ("linux", {}, "/home/me/.cache/ingot"),
        ("darwin", {}, "/home/me/Library/Caches/ingot"),
        ("win32", {"LOCALAPPDATA": "/c/local"}, "/c/local/ingot/cache"),
        ("linux", {"INGOT_CACHE_DIR": "~/kernels"}, "/home/me/kernels"),
    ],
)
def test_platform_directories(
    monkeypatch: pytest.MonkeyPatch, platform: str, variables: dict[str, str], expected: str
) -> None:
    for name in ("INGOT_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **variables}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cache_module.sys, "platform", platform)
    assert default_directory() == Path(expected)


def test_large_entries_are_mapped_and_verified(tmp_path: Path) -> None:
    cache, key = Cache(tmp_path / "kernels"), cache_key("weights")
    blob = bytes(range(256)) * (70 << 10)
    cache.put(key, blob)
    view = cache.view(key)
    assert view is not None and view.readonly and view == blob
    # A file that is written again is another one: what was mapped stays as it is.
    cache.put(key, bytes(len(blob)))
    assert view == blob
    assert cache.get(key) == bytes(len(blob))
    path = cache.directory / f"{key}.kernel"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.unlink()
    path.write_bytes(damaged)
    assert cache.view(key) is None and not path.exists()
