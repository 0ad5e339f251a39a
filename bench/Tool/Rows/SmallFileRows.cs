using EphemeralFs.Bench.Measure;
using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench.Rows;

/// <summary>Files of one size in one directory: written, read after the kernel's caches were dropped, read again.</summary>
internal sealed unsafe class SmallFileRows : IDisposable
{
    private const int WarmUpCount = 4;

    private readonly int _directory;
    private readonly int _count;
    private readonly long _bytes;
    private readonly ulong _seed;
    private readonly NameTable _names;
    private readonly NativeBuffer _buffer;
    private int _written;

    private SmallFileRows(string directory, string prefix, int count, long bytes, ulong seed)
    {
        _directory = Sys.OpenDirectory(directory);
        _count = count;
        _bytes = bytes;
        _seed = seed;
        _names = new NameTable(prefix, count);
        _buffer = new NativeBuffer(bytes + 1);
    }

    public static int CountOf(long bytes, RunOptions options) => bytes switch
    {
        <= 10 << 10 => options.Scaled(2000, 100),
        <= 100 << 10 => options.Scaled(500, 30),
        _ => options.Scaled(100, 8),
    };

    public static void Run(RunOptions options, RowRunner runner, string size, long bytes)
    {
        string work = Path.Combine(options.A, options.WorkName);
        Directory.CreateDirectory(work);
        using (var warmUp = new SmallFileRows(work, "w", WarmUpCount, bytes, seed: 1))
        {
            warmUp.Write();
            warmUp.Read(everyByte: false);
            warmUp.Remove();
        }

        using var rows = new SmallFileRows(work, "f", CountOf(bytes, options), bytes, (ulong)options.Round << 32);
        runner.Run($"write-{size}", window =>
        {
            long start = window.Open();
            rows.Write();
            return Outcome.Rate(rows._written, window.Close() - start);
        });
        runner.Run($"read-cold-{size}", window =>
        {
            runner.DropKernelCaches();
            return rows.MeasureRead(window);
        });
        runner.Run($"read-{size}", window =>
        {
            rows.Read(everyByte: true);
            return rows.MeasureRead(window);
        });
        rows.Remove();
    }

    public void Dispose()
    {
        _ = Libc.Close(_directory);
        _names.Dispose();
        _buffer.Dispose();
    }

    private Outcome MeasureRead(CpuWindow window)
    {
        long start = window.Open();
        int read = Read(everyByte: false);
        return Outcome.Rate(read, window.Close() - start);
    }

    private void Write()
    {
        Content.Fill(_buffer.Pointer, _bytes, _seed, 0);
        var limit = new TimeLimit();
        for (_written = 0; _written < _count && !limit.Reached(_written); _written++)
        {
            Content.Stamp(_buffer.Pointer, _bytes, _seed + (ulong)_written, 0);
            int fd = Libc.OpenAt(_directory, _names[_written], Libc.O_CREAT | Libc.O_EXCL | Libc.O_WRONLY | Libc.O_CLOEXEC, 0x1b4);
            Sys.Check(fd, "create");
            Sys.WriteFully(fd, _buffer.Pointer, _bytes);
            Sys.Check(Libc.Close(fd), "close");
        }
    }

    /// <summary>Reads every file, each to its end.</summary>
    /// <param name="everyByte">Compare all bytes; otherwise the stamp of every page.</param>
    private int Read(bool everyByte)
    {
        var limit = new TimeLimit();
        int read = 0;
        for (; read < _written && !limit.Reached(read); read++)
        {
            int fd = Sys.Check(Libc.OpenAt(_directory, _names[read], Libc.O_RDONLY | Libc.O_CLOEXEC, 0), "open");
            long got = Sys.ReadFully(fd, _buffer.Pointer, _bytes + 1);
            Sys.Check(Libc.Close(fd), "close");
            ulong seed = _seed + (ulong)read;
            bool right = everyByte ? Content.IsRight(_buffer.Pointer, _bytes, seed, 0) : Content.StampsAreRight(_buffer.Pointer, _bytes, seed, 0);
            if (got != _bytes || !right)
            {
                throw new BenchException($"file {read} has {got} bytes or wrong content");
            }
        }

        return read > 0 ? read : throw new BenchException("no file was written");
    }

    private void Remove()
    {
        for (int i = 0; i < _written; i++)
        {
            Sys.Check(Libc.UnlinkAt(_directory, _names[i], 0), "unlink");
        }
    }
}
