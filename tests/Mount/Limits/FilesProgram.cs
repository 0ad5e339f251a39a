using System.Globalization;

namespace EphemeralFs.Tests.Mount.Limits;

/// <summary>A program that makes numbered empty files, in one directory or in a tree of directories with a hundred entries each, and works with them.</summary>
internal sealed class FilesProgram : IDisposable
{
    /// <summary>A million files take a while.</summary>
    private const int Seconds = 3600;

    private const string Text = """
        import os, sys
        shape = sys.argv[1]
        leaf = lambda n: 'all' if shape == 'directory' else 't%02d/u%02d' % (n // 10000, n // 100 % 100)
        name = lambda n: '%s/f%07d' % (leaf(n), n)
        # In ten directories of the last hundred, so that as many directories are touched however many there are.
        def some(files, count):
            base = 0 if shape == 'directory' else (files - 1) // 10000 * 10000
            step = max(1, (min(files, 1000) if shape == 'tree' else files) // count)
            return [base + i * step for i in range(count)]
        def each(first, last, work):
            # Several at a time: this is preparation, and is not measured.
            children = []
            for part in range(4):
                pid = os.fork()
                if pid == 0:
                    work(range(first + part * 100, last, 400))
                    os._exit(0)
                children.append(pid)
            for pid in children:
                if os.waitpid(pid, 0)[1]: raise SystemExit('a child failed')
        def touch(path): os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644))
        def make(first, last):
            def work(starts):
                for start in starts:
                    os.makedirs(leaf(start), exist_ok=True)
                    for n in range(start, start + 100): touch(name(n))
            each(first, last, work)
        def remove(first, last):
            def work(starts):
                for start in starts:
                    for n in range(start, start + 100): os.unlink(name(n))
                    if shape == 'tree': os.rmdir(leaf(start))
            each(first, last, work)
            if shape == 'directory': os.rmdir('all')
            else:
                for top in os.listdir('.'): os.rmdir(top)
        def create(files, count):
            for n in some(files, count): touch(name(n) + '.new')
        def look_up(files, count):
            for n in some(files, count): os.stat(name(n))
        def rewrite(files, count):
            for n in some(files, count):
                fd = os.open(name(n), os.O_RDWR)
                os.write(fd, b'text')
                assert os.pread(fd, 10, 0) == b'text'
                os.close(fd)
        def rename(files, count):
            for n in some(files, count): os.rename(name(n) + '.new', name(n) + '.moved')
        def unlink(files, count):
            for n in some(files, count): os.unlink(name(n) + '.moved')
        def list_all(files):
            found = 0
            for _, _, names in os.walk('.'): found += len(names)
            assert found == files, found
        for number, line in enumerate(sys.stdin):
            eval(line)
            print('done', number, flush=True)
        """;

    private readonly Command.Running running;
    private int calls;

    public FilesProgram(string directory, string shape)
    {
        Directory = directory;
        running = new Command(directory, Seconds, Tool.Python, "-c", Text, shape).Start();
    }

    /// <summary>Where it works.</summary>
    public string Directory { get; }

    /// <summary>Has it call one of its functions, and waits until that is done.</summary>
    public void Do(string call)
    {
        running.Process.StandardInput.WriteLine(call);
        running.Process.StandardInput.Flush();
        running.WaitForOutput(string.Create(CultureInfo.InvariantCulture, $"done {calls++}"));
    }

    public void Dispose()
    {
        running.Process.StandardInput.Close();
        running.Wait().MustSucceed();
        running.Dispose();
    }
}
