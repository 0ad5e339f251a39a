using System.Text;
using EphemeralFs.Tests.Mount.Posix;

namespace EphemeralFs.Tests.Mount.Suites;

/// <summary>
/// Random operations on one file, compared after every step with the same operations on an array: the idea of Apple's <c>fsx</c>, which has
/// found errors in most file systems. A seed reproduces a run.
/// </summary>
internal sealed unsafe class FileExerciser : IDisposable
{
    private const int Page = 4096;

    private readonly string path;
    private readonly int seed;
    private readonly int maxSize;
    private readonly int maxOperation;
    private readonly Random random;
    private readonly byte[] model;
    private readonly List<string> history = [];
    private int size;
    private int writer;
    private int reader;

    /// <param name="path">The file; it is made, and left behind.</param>
    /// <param name="seed">Reproduces the run.</param>
    /// <param name="maxSize">The largest size of the file in bytes.</param>
    /// <param name="maxOperation">The most bytes that one operation touches.</param>
    public FileExerciser(string path, int seed, int maxSize, int maxOperation)
    {
        (this.path, this.seed, this.maxSize, this.maxOperation) = (path, seed, maxSize, maxOperation);
        random = new Random(seed);
        model = new byte[maxSize];
        OpenBoth(Native.O_CREAT | Native.O_TRUNC);
    }

    /// <summary>Makes this many random steps.</summary>
    public void Run(int steps)
    {
        for (int step = 0; step < steps; step++)
        {
            Step(step);
            Statx stat = default;
            Check(Native.Fstat(reader, out stat) == 0 && stat.Size == (ulong)size, step, $"the size is {stat.Size}, expected {size}");
        }
        Compare(steps, 0, size);
        Reopen(steps);
        Compare(steps, 0, size);
    }

    private void Step(int step)
    {
        int length = 1 + random.Next(maxOperation);
        int offset = random.Next(maxSize - length);
        switch (random.Next(100))
        {
            case < 22:
                Write(step, offset, length);
                break;
            case < 42:
                Compare(step, Math.Min(offset, size), length);
                break;
            case < 52:
                MappedRead(step, offset, length);
                break;
            case < 66:
                MappedWrite(step, offset, length);
                break;
            case < 73:
                Truncate(step, random.Next(maxSize));
                break;
            case < 78:
                Punch(step, offset, length);
                break;
            case < 83:
                Allocate(step, offset, length);
                break;
            case < 91:
                CopyRange(step, offset, length);
                break;
            case < 95:
                Reopen(step);
                break;
            case < 97:
                SeekData(step, offset);
                break;
            default:
                Note(step, "fsync");
                Check(Native.Fsync(writer) == 0, step, "fsync failed");
                break;
        }
    }

    private void Write(int step, int offset, int length)
    {
        Note(step, $"write {offset} {length}");
        random.NextBytes(model.AsSpan(offset, length));
        for (int done = 0; done < length;)
        {
            long written = Native.Pwrite(writer, model.AsSpan(offset + done, length - done), offset + done);
            Check(written > 0, step, $"pwrite gave {written}");
            done += (int)written;
        }
        Grow(offset, length);
    }

    // Bytes of the model between the old end and the offset are zero already: cutting clears them.
    private void Grow(int offset, int length) => size = Math.Max(size, offset + length);

    private void Compare(int step, int offset, int length)
    {
        length = Math.Min(length, size - offset);
        Note(step, $"read {offset} {length}");
        byte[] got = new byte[length];
        for (int done = 0; done < length;)
        {
            long read = Native.Pread(reader, got.AsSpan(done), offset + done);
            Check(read > 0, step, $"pread at {offset + done} gave {read}, the size is {size}");
            done += (int)read;
        }
        CheckSame(step, got, offset);
    }

    private void MappedRead(int step, int offset, int length)
    {
        length = Math.Min(length, size - offset);
        if (length <= 0)
        {
            return;
        }
        Note(step, $"mapread {offset} {length}");
        Mapped(step, reader, Native.PROT_READ, offset, length, map => CheckSame(step, new ReadOnlySpan<byte>((void*)map, length), offset));
    }

    private void MappedWrite(int step, int offset, int length)
    {
        Note(step, $"mapwrite {offset} {length}");
        if (offset + length > size)
        {
            Check(Native.Ftruncate(writer, offset + length) == 0, step, "ftruncate failed");
            Grow(offset, length);
        }
        random.NextBytes(model.AsSpan(offset, length));
        Mapped(step, writer, Native.PROT_READ | Native.PROT_WRITE, offset, length, map =>
        {
            model.AsSpan(offset, length).CopyTo(new Span<byte>((void*)map, length));
            Check(Native.Msync(map & -Page, length + (map & (Page - 1)), Native.MS_SYNC) == 0, step, "msync failed");
        });
    }

    private void Mapped(int step, int fd, int protection, int offset, int length, Action<nint> body)
    {
        int start = offset & -Page;
        long map = Native.Mmap(fd, offset + length - start, protection, Native.MAP_SHARED, start);
        Check(map > 0, step, $"mmap gave {map}");
        try
        {
            body((nint)map + offset - start);
        }
        finally
        {
            Expect.Ok(Native.Munmap((nint)map, offset + length - start));
        }
    }

    private void Truncate(int step, int to)
    {
        Note(step, $"truncate {size} -> {to}");
        Check((random.Next(2) == 0 ? Native.Ftruncate(writer, to) : Native.Truncate(path, to)) == 0, step, "truncate failed");
        if (to < size)
        {
            model.AsSpan(to, size - to).Clear();
        }
        size = to;
    }

    private void Punch(int step, int offset, int length)
    {
        Note(step, $"punch {offset} {length}");
        Check(Native.Fallocate(writer, Native.FALLOC_FL_PUNCH_HOLE | Native.FALLOC_FL_KEEP_SIZE, offset, length) == 0, step, "punching failed");
        model.AsSpan(offset, length).Clear();
    }

    private void Allocate(int step, int offset, int length)
    {
        bool keep = random.Next(2) == 0;
        Note(step, $"fallocate {(keep ? "keep " : "")}{offset} {length}");
        Check(Native.Fallocate(writer, keep ? Native.FALLOC_FL_KEEP_SIZE : 0, offset, length) == 0, step, "fallocate failed");
        if (!keep)
        {
            Grow(offset, length);
        }
    }

    private void CopyRange(int step, int from, int length)
    {
        int to = random.Next(maxSize - length);
        length = Math.Min(length, size - from);
        if (length <= 0 || Math.Abs(from - to) < length)
        {
            return;
        }
        Note(step, $"copy {from} -> {to} {length}");
        for (int done = 0; done < length;)
        {
            long copied = Native.CopyFileRange(reader, from + done, writer, to + done, length - done);
            Check(copied > 0, step, $"copy_file_range gave {copied}");
            done += (int)copied;
        }
        model.AsSpan(from, length).CopyTo(model.AsSpan(to));
        Grow(to, length);
    }

    // Holes may be reported as data, so only this much can be demanded: what is reported as a hole is zero in the model.
    private void SeekData(int step, int offset)
    {
        if (offset >= size)
        {
            return;
        }
        Note(step, $"seek-data {offset}");
        long data = Native.Lseek(reader, offset, Native.SEEK_DATA);
        int hole = data < 0 ? size : (int)data;
        Check(data >= offset || Native.ErrnoOf(data) == EphemeralFs.Core.Errno.ENXIO, step, $"SEEK_DATA gave {data}");
        Check(model.AsSpan(offset, hole - offset).IndexOfAnyExcept((byte)0) < 0, step, $"SEEK_DATA skipped data between {offset} and {hole}");
    }

    private void Reopen(int step)
    {
        Note(step, "reopen");
        CloseBoth();
        OpenBoth(0);
    }

    private void OpenBoth(int flags)
    {
        writer = Expect.Fd(Native.Open(path, Native.O_RDWR | flags, Expect.Octal(644)));
        reader = Expect.Fd(Native.Open(path, Native.O_RDONLY));
    }

    private void CloseBoth()
    {
        Expect.Ok(Native.Close(writer));
        Expect.Ok(Native.Close(reader));
    }

    private void Note(int step, string what)
    {
        history.Add($"{step}: {what} (size {size})");
        if (history.Count > 40)
        {
            history.RemoveAt(0);
        }
    }

    private void CheckSame(int step, ReadOnlySpan<byte> got, int offset)
    {
        ReadOnlySpan<byte> expected = model.AsSpan(offset, got.Length);
        int same = got.CommonPrefixLength(expected);
        if (same < got.Length)
        {
            Check(false, step, $"byte {offset + same} is 0x{got[same]:x2}, expected 0x{expected[same]:x2}");
        }
    }

    private void Check(bool right, int step, string what)
    {
        if (!right)
        {
            Assert.Fail(new StringBuilder($"seed {seed}, step {step}: {what}\nthe last steps:\n").AppendJoin('\n', history).ToString());
        }
    }

    public void Dispose() => CloseBoth();
}
