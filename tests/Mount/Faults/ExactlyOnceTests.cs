namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>
/// A call that must not be executed twice, and a process that dies when it has executed it and nobody has heard: the caller sees one success,
/// and the volume one effect.
/// </summary>
[Collection(FaultCollection.Name)]
public sealed class ExactlyOnceTests(FaultCluster cluster)
{
    /// <summary>
    /// <c>check.py OPERATION POINT-FILE A B</c>: prepares in the directory A (B is the same through the other node), arms the kill point, does one
    /// call, sees that a process died of it, and looks at what there is now.
    /// </summary>
    private const string Program = """
        import ctypes, errno, fcntl, os, struct, sys, threading, time
        libc = ctypes.CDLL(None, use_errno=True)
        operation, point, a, b = sys.argv[1:]
        os.chdir(a)

        def call(result):
            if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            return result
        def arm():
            if os.path.exists(point + '.hit'): os.unlink(point + '.hit')
            os.close(os.open(point, os.O_CREAT))
        def died():
            assert os.path.exists(point + '.hit'), 'nobody came by ' + point
        def make(name, text=b''):
            with open(name, 'wb') as f: f.write(text)
        def read(name):
            with open(name, 'rb') as f: return f.read()
        def fails(error, function, *arguments):
            try: function(*arguments)
            except OSError as e: assert e.errno == error, e
            else: raise AssertionError('no error')
        def there(*names):
            assert sorted(os.listdir('.')) == sorted(names), os.listdir('.')
            assert sorted(os.listdir(b)) == sorted(names), os.listdir(b)

        def create():
            arm(); fd = os.open('f', os.O_CREAT | os.O_EXCL | os.O_RDWR); died()
            os.write(fd, b'mine'); os.close(fd)
            there('f'); assert read(b + '/f') == b'mine'
            fails(errno.EEXIST, os.open, 'f', os.O_CREAT | os.O_EXCL | os.O_RDWR)
        def tmpfile():
            arm(); fd = os.open('.', os.O_TMPFILE | os.O_RDWR); died()
            os.write(fd, b'mine'); call(libc.linkat(-100, b'/proc/self/fd/%d' % fd, -100, b'f', 0x400)); os.close(fd)
            there('f'); assert read('f') == b'mine'
        def mkdir():
            arm(); os.mkdir('d'); died()
            there('d'); assert os.stat('.').st_nlink == 3
        def mknod():
            arm(); os.mkfifo('p'); died()
            there('p')
        def symlink():
            arm(); os.symlink('target', 's'); died()
            there('s'); assert os.readlink('s') == 'target'
        def link():
            make('f'); arm(); os.link('f', 'g'); died()
            there('f', 'g'); assert os.stat('f').st_nlink == 2
        def unlink():
            make('f', b'text'); fd = os.open('f', os.O_RDONLY)
            arm(); os.unlink('f'); died()
            there(); assert os.fstat(fd).st_nlink == 0 and os.pread(fd, 10, 0) == b'text'; os.close(fd)
        def unlink_of_two():
            # Executed twice it would not fail, but take the second name's link too.
            make('f'); os.link('f', 'g'); arm(); os.unlink('f'); died()
            there('g'); assert os.stat('g').st_nlink == 1
        def rmdir():
            os.mkdir('d'); arm(); os.rmdir('d'); died()
            there(); assert os.stat('.').st_nlink == 2
        def rename():
            make('f', b'f'); make('g', b'g'); arm(); os.rename('f', 'g'); died()
            there('g'); assert read('g') == b'f'
        def noreplace():
            make('f', b'f'); arm(); call(libc.renameat2(-100, b'f', -100, b'g', 1)); died()
            there('g'); assert read('g') == b'f'
        def exchange():
            make('f', b'f'); make('g', b'g'); arm(); call(libc.renameat2(-100, b'f', -100, b'g', 2)); died()
            there('f', 'g'); assert (read('f'), read('g')) == (b'g', b'f')
        def append():
            fd = os.open('f', os.O_CREAT | os.O_WRONLY | os.O_APPEND); os.write(fd, b'one;')
            arm(); assert os.write(fd, b'two;') == 4
            os.fsync(fd); died()
            os.write(fd, b'three;'); os.close(fd)
            assert read('f') == b'one;two;three;' == read(b + '/f')
        def append_through():
            # Another node has it open for writing: the server chooses where the bytes go.
            fd = os.open('f', os.O_CREAT | os.O_WRONLY | os.O_APPEND); other = os.open(b + '/f', os.O_WRONLY | os.O_APPEND)
            os.write(fd, b'one;'); os.write(other, b'two;')
            arm(); assert os.write(fd, b'three;') == 6; died()
            os.write(other, b'four;'); os.write(fd, b'five;'); os.close(fd); os.close(other)
            assert read('f') == b'one;two;three;four;five;' == read(b + '/f')
        def truncate():
            make('f', b'0123456789'); fd = os.open('f', os.O_RDWR)
            arm(); os.ftruncate(fd, 4); died()
            os.write(fd, b'ab'); os.ftruncate(fd, 8); os.close(fd)
            assert read('f') == b'ab23\0\0\0\0' == read(b + '/f')
        def setxattr():
            make('f'); arm(); os.setxattr('f', 'user.x', b'v', os.XATTR_CREATE); died()
            assert os.getxattr(b + '/f', 'user.x') == b'v'
        def fallocate():
            fd = os.open('f', os.O_CREAT | os.O_RDWR); arm(); os.posix_fallocate(fd, 0, 10000); died()
            assert os.fstat(fd).st_size == 10000; os.close(fd)

        # fcntl locks that are waited for. The one who has it is on the other node, where nobody dies of the node's points.
        def lock(fd, type, wait):
            fcntl.fcntl(fd, fcntl.F_SETLKW if wait else fcntl.F_SETLK, struct.pack('hhqqi', type, os.SEEK_SET, 0, 0, 0))
        def holder():
            ready, go = os.pipe(), os.pipe()
            pid = os.fork()
            if pid == 0:
                fd = os.open(b + '/f', os.O_RDWR); lock(fd, fcntl.F_WRLCK, False)
                os.write(ready[1], b'.'); os.read(go[0], 1)
                lock(fd, fcntl.F_UNLCK, False); os.write(ready[1], b'.'); os.read(go[0], 1); os._exit(0)
            os.read(ready[0], 1)
            return pid, lambda: (os.write(go[1], b'.'), os.read(ready[0], 1)), lambda: (os.write(go[1], b'.'), os.waitpid(pid, 0))
        def waiting(): # does the node's daemon have a request of ours that is not answered?
            return any(open('/proc/self/task/%s/wchan' % t).read() not in ('0', '') and
                       'fuse' in open('/proc/self/task/%s/stack' % t).read() for t in os.listdir('/proc/self/task'))
        def setlkw():
            make('f'); fd = os.open('f', os.O_RDWR)
            pid, release, end = holder()
            waiter = threading.Thread(target=lock, args=(fd, fcntl.F_WRLCK, True)); waiter.start()
            while not waiting(): time.sleep(0.001)
            arm(); release(); waiter.join(); died()
            owned(fd, end)
        def setlkw_daemon_dies_waiting():
            make('f'); fd = os.open('f', os.O_RDWR)
            pid, release, end = holder()
            waiter = threading.Thread(target=lock, args=(fd, fcntl.F_WRLCK, True)); waiter.start()
            while not waiting(): time.sleep(0.001)
            arm(); os.mkdir('d'); died(); assert waiter.is_alive()
            release(); waiter.join()
            owned(fd, end)
        def owned(fd, end):
            # Ours and nobody else's, and one unlocking frees it.
            def attempt(expected):
                pid = os.fork()
                if pid == 0:
                    other = os.open(b + '/f', os.O_RDWR)
                    try: lock(other, fcntl.F_WRLCK, False); os._exit(0)
                    except OSError as e: os._exit(e.errno)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == expected
            attempt(errno.EAGAIN); lock(fd, fcntl.F_UNLCK, False); attempt(0); end(); os.close(fd)

        globals()[operation]()
        """;

    private static readonly string[] Operations =
    [
        "create", "tmpfile", "mkdir", "mknod", "symlink", "link", "unlink", "unlink_of_two", "rmdir", "rename", "noreplace", "exchange",
        "append", "append_through", "truncate", "setxattr", "fallocate", "setlkw", "setlkw_daemon_dies_waiting",
    ];

    public static IEnumerable<object[]> EveryOperation => Operations.Select(operation => new object[] { operation });

    [Theory]
    [MemberData(nameof(EveryOperation))]
    public void AnExecutedCallIsAnsweredAndNotExecutedAgain(string operation) => Check(operation, "node.before-reply", "metadata.before-reply");

    [Theory]
    [Trait("Category", "Soak")]
    [MemberData(nameof(EveryOperation))]
    public void ACallThatWasCutOffInTheServerIsExecutedOnce(string operation) => Check(operation, "metadata.after-apply", "metadata.after-journal");

    private void Check(string operation, params string[] points)
    {
        string plain = cluster.NewPlainDirectory();
        string program = Path.Combine(plain, "check.py");
        File.WriteAllText(program, Program);
        foreach (string point in points)
        {
            cluster.Settle(point[..point.IndexOf('.', StringComparison.Ordinal)]);
            string name = cluster.NewName(operation);
            string first = Directory.CreateDirectory(Path.Combine(cluster.First, name)).FullName;
            new Command(plain, 60, Tool.Python, program, operation, cluster.PointFile(point), first, Path.Combine(cluster.Second, name)).Run().MustSucceed();
            Model.Running.Scratch.Remove(first);
        }
        cluster.MustRecover();
    }
}
