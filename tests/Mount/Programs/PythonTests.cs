namespace EphemeralFs.Tests.Mount.Programs;

/// <summary>Python's file library, which uses many system calls that shells do not: mmap, pwritev, sendfile, copy_file_range, dir_fd, O_TMPFILE, locks.</summary>
[Collection(ProgramsCollection.Name)]
public sealed class PythonTests(VolumeFixture volume)
{
    private const string Program = """
        import os, mmap, random, shutil, tempfile, fcntl, json, pathlib, zipfile, dbm.dumb, pickle, threading, multiprocessing, hashlib, stat, array

        rnd = random.Random(4711)

        # A shared mapping beside ordinary reads and writes of the same file.
        size = 3 * 1024 * 1024 + 123
        with open("mapped", "w+b") as f:
            f.truncate(size)
            with mmap.mmap(f.fileno(), size) as m:
                model = bytearray(size)
                for step in range(400):
                    at, data = rnd.randrange(size - 5000), rnd.randbytes(rnd.randrange(1, 5000))
                    model[at:at + len(data)] = data
                    if step % 2:
                        m[at:at + len(data)] = data
                    else:
                        os.pwrite(f.fileno(), data, at)
                    if step % 20 == 0:
                        at = rnd.randrange(size - 5000)
                        assert m[at:at + 5000] == model[at:at + 5000] == os.pread(f.fileno(), 5000, at), (step, at)
                m.flush()
                # The mapping outlives the descriptor.
                os.close(os.dup(f.fileno()))
                m[0:4] = b"last"
                model[0:4] = b"last"
            assert pathlib.Path("mapped").read_bytes() == model

        # A mapping shared by processes that count with a lock.
        with open("counter", "w+b") as f:
            f.write(b"\0" * 4096)
        def count():
            with open("counter", "r+b") as f, mmap.mmap(f.fileno(), 4096) as m:
                for _ in range(200):
                    fcntl.lockf(f, fcntl.LOCK_EX)
                    m[0:8] = (int.from_bytes(m[0:8], "little") + 1).to_bytes(8, "little")
                    fcntl.lockf(f, fcntl.LOCK_UN)
        workers = [multiprocessing.Process(target=count) for _ in range(3)]
        [w.start() for w in workers]; [w.join() for w in workers]
        assert [w.exitcode for w in workers] == [0, 0, 0]
        assert int.from_bytes(open("counter", "rb").read(8), "little") == 600

        # Vectored and positioned I/O, sendfile, copy_file_range, holes.
        fd = os.open("vectors", os.O_RDWR | os.O_CREAT, 0o600)
        assert os.pwritev(fd, [b"abc", b"", b"defgh" * 1000], 5) == 5003
        assert os.preadv(fd, [bytearray(5), bytearray(10)], 0) == 15
        os.posix_fallocate(fd, 100_000, 50_000)
        assert os.fstat(fd).st_size == 150_000
        out = os.open("sent", os.O_WRONLY | os.O_CREAT, 0o644)
        assert os.sendfile(out, fd, 0, 100_000) == 100_000
        assert os.copy_file_range(fd, out, 50_000, 0, 200_000) == 50_000
        os.close(out); os.close(fd)

        # Temporary files: unlinked, nameless, renamed over a target.
        with tempfile.TemporaryFile(dir=".") as f:
            f.write(b"x" * 100_000); f.seek(0)
            assert f.read() == b"x" * 100_000
        with tempfile.NamedTemporaryFile(dir=".") as f:
            f.write(b"y"); f.flush()
            assert os.stat(f.name).st_size == 1
        for i in range(50):
            with open("new", "w") as f:
                json.dump({"i": i}, f); f.flush(); os.fsync(f.fileno())
            os.replace("new", "config.json")
            assert json.load(open("config.json")) == {"i": i}

        # Trees: made, walked, copied, archived, removed by directory descriptor.
        for i in range(300):
            p = pathlib.Path("tree", str(i % 7), str(i % 5)); p.mkdir(parents=True, exist_ok=True)
            (p / f"file{i}").write_bytes(rnd.randbytes(i * 13 % 4000))
        shutil.copytree("tree", "copy")
        with zipfile.ZipFile("tree.zip", "w", zipfile.ZIP_DEFLATED) as z:
            for p in sorted(pathlib.Path("tree").rglob("*")):
                if p.is_file():
                    z.writestr(zipfile.ZipInfo(str(p)), p.read_bytes())
        assert zipfile.ZipFile("tree.zip").testzip() is None
        def digest(root):
            h = hashlib.sha256()
            for d, names, files in os.walk(root):
                names.sort()
                for name in sorted(files):
                    h.update(os.path.relpath(os.path.join(d, name), root).encode()); h.update(open(os.path.join(d, name), "rb").read())
            return h.hexdigest()
        assert digest("tree") == digest("copy")
        shutil.rmtree("copy")
        assert not os.path.exists("copy")

        # Many threads appending: no write is lost or torn.
        def append(n):
            fd = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            for i in range(100):
                os.write(fd, f"{n:03d} {i:05d} {'.' * 50}\n".encode())
            os.close(fd)
        threads = [threading.Thread(target=append, args=(n,)) for n in range(8)]
        [t.start() for t in threads]; [t.join() for t in threads]
        lines = open("log").read().splitlines()
        assert len(lines) == 800 and all(len(line) == 60 for line in lines), len(lines)
        open("log", "w").write("\n".join(sorted(lines)) + "\n")

        with dbm.dumb.open("database", "c") as db:
            for i in range(200):
                db[str(i)] = pickle.dumps(list(range(i)))
            for i in range(0, 200, 3):
                del db[str(i)]
        array.array("d", (rnd.random() for _ in range(10_000))).tofile(open("numbers", "wb"))
        os.chmod("numbers", 0o640); os.utime("numbers", ns=(10**18 + 1, 10**18 + 7))
        assert os.stat("numbers").st_mtime_ns == 10**18 + 7
        os.mkfifo("fifo"); os.symlink("numbers", "link"); os.link("numbers", "numbers2")
        assert os.stat("numbers").st_nlink == 2 and stat.S_ISFIFO(os.lstat("fifo").st_mode)
        print(sorted((e.name, e.is_dir(), e.is_symlink(), e.inode() == os.lstat(e.name).st_ino) for e in os.scandir(".")))
        """;

    [Fact]
    public void Python_reads_writes_and_maps_the_same()
    {
        string python = Tool.Python;
        using var sides = volume.NewSides("python");
        sides.Same(directory => new Command(directory, 300, python, "-c", Program).Run().MustSucceed());
    }
}
