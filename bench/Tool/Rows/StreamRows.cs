using EphemeralFs.Bench.Measure;
using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench.Rows;

/// <summary>One large file, written and read from end to end with requests of one size.</summary>
internal static unsafe class StreamRows
{
    public static void Run(RunOptions options, RowRunner runner, string size, int requestBytes)
    {
        string work = Path.Combine(options.A, options.WorkName);
        Directory.CreateDirectory(work);
        string path = Path.Combine(work, "stream");
        long bytes = (long)options.Scaled(512, 32) << 20;
        ulong seed = 0x57BEA3 + (ulong)options.Round;
        using var buffer = new NativeBuffer(requestBytes);
        runner.Run($"stream-write-{size}", window =>
        {
            Content.Fill(buffer.Pointer, requestBytes, seed, 0);
            long start = window.Open();
            Write(path, buffer, bytes, seed);
            return Outcome.Throughput(bytes, bytes / requestBytes, window.Close() - start);
        });
        runner.Run($"stream-read-cold-{size}", window =>
        {
            runner.DropKernelCaches();
            return MeasureRead(window, path, buffer, bytes, seed);
        });
        runner.Run($"stream-read-{size}", window =>
        {
            Read(path, buffer, bytes, seed, everyByte: true);
            return MeasureRead(window, path, buffer, bytes, seed);
        });
    }

    /// <summary>Creates the file that <see cref="RandomRows"/> works on as well.</summary>
    public static void Write(string path, NativeBuffer buffer, long bytes, ulong seed)
    {
        int fd = Sys.Open(path, Libc.O_CREAT | Libc.O_TRUNC | Libc.O_WRONLY);
        for (long offset = 0; offset < bytes; offset += buffer.Bytes)
        {
            Content.Stamp(buffer.Pointer, buffer.Bytes, seed, offset);
            Sys.WriteFully(fd, buffer.Pointer, buffer.Bytes);
        }

        Sys.Check(Libc.FSync(fd), "fsync");
        Sys.Close(fd, path);
    }

    private static Outcome MeasureRead(CpuWindow window, string path, NativeBuffer buffer, long bytes, ulong seed)
    {
        long start = window.Open();
        Read(path, buffer, bytes, seed, everyByte: false);
        return Outcome.Throughput(bytes, bytes / buffer.Bytes, window.Close() - start);
    }

    private static void Read(string path, NativeBuffer buffer, long bytes, ulong seed, bool everyByte)
    {
        int fd = Sys.Open(path, Libc.O_RDONLY);
        long offset = 0;
        for (long got; (got = Sys.ReadFully(fd, buffer.Pointer, buffer.Bytes)) > 0; offset += got)
        {
            if (!(everyByte ? Content.IsRight(buffer.Pointer, got, seed, offset) : Content.StampsAreRight(buffer.Pointer, got, seed, offset)))
            {
                throw new BenchException($"wrong content between {offset} and {offset + got}");
            }
        }

        Sys.Close(fd, path);
        if (offset != bytes)
        {
            throw new BenchException($"the file has {offset} of {bytes} bytes");
        }
    }
}
