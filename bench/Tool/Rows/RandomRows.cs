using EphemeralFs.Bench.Measure;
using EphemeralFs.Bench.Native;

namespace EphemeralFs.Bench.Rows;

/// <summary>4 KiB requests at random pages of one file, one after the other.</summary>
internal static unsafe class RandomRows
{
    private const int PageBytes = Content.StampEvery;

    public static void Run(RunOptions options, RowRunner runner)
    {
        string work = Path.Combine(options.A, options.WorkName);
        Directory.CreateDirectory(work);
        string path = Path.Combine(work, "random");
        long bytes = (long)options.Scaled(256, 16) << 20;
        int requests = options.Scaled(50_000, 1000);
        int[] pages = [.. Pages(requests, (int)(bytes / PageBytes), options.Round)];
        ulong seed = 0x4A4D03 + (ulong)options.Round;
        using var page = new NativeBuffer(PageBytes);

        runner.Run("random-read", window =>
        {
            using (var large = new NativeBuffer(1 << 20))
            {
                Content.Fill(large.Pointer, large.Bytes, seed, 0);
                StreamRows.Write(path, large, bytes, seed);
            }

            runner.DropKernelCaches();
            int fd = Sys.Open(path, Libc.O_RDONLY);
            long start = window.Open();
            long done = Read(fd, page, pages, seed);
            Outcome outcome = Outcome.Rate(done, window.Close() - start);
            Sys.Close(fd, path);
            return outcome;
        });
        runner.Run("random-write", window =>
        {
            Content.Fill(page.Pointer, PageBytes, seed + 1, 0);
            int fd = Sys.Open(path, Libc.O_WRONLY);
            long start = window.Open();
            int done = Write(fd, page, pages, seed + 1);
            Sys.Check(Libc.FSync(fd), "fsync");
            Outcome outcome = Outcome.Rate(done, window.Close() - start);
            Sys.Close(fd, path);
            Verify(path, page, bytes, seed, [.. pages.Take(done)]);
            return outcome;
        });
    }

    private static IEnumerable<int> Pages(int requests, int count, int round)
    {
#pragma warning disable CA5394 // Not for security: the same pages for every system in a round.
        var random = new Random(round);
        return Enumerable.Range(0, requests).Select(_ => random.Next(count));
#pragma warning restore CA5394
    }

    private static long Read(int fd, NativeBuffer page, int[] pages, ulong seed)
    {
        var limit = new TimeLimit();
        int done = 0;
        for (; done < pages.Length && !limit.Reached(done); done++)
        {
            long offset = (long)pages[done] * PageBytes;
            nint got = Libc.PRead(fd, page.Pointer, PageBytes, offset);
            Sys.Check((int)got, "pread");
            if (got != PageBytes || !Content.StampsAreRight(page.Pointer, PageBytes, seed, offset))
            {
                throw new BenchException($"wrong content at {offset}");
            }
        }

        return done;
    }

    private static int Write(int fd, NativeBuffer page, int[] pages, ulong seed)
    {
        var limit = new TimeLimit();
        int done = 0;
        for (; done < pages.Length && !limit.Reached(done); done++)
        {
            long offset = (long)pages[done] * PageBytes;
            Content.Stamp(page.Pointer, PageBytes, seed, offset);
            nint put = Libc.PWrite(fd, page.Pointer, PageBytes, offset);
            Sys.Check((int)put, "pwrite");
            if (put != PageBytes)
            {
                throw new BenchException($"short write at {offset}");
            }
        }

        return done;
    }

    /// <summary>Every page of the file: rewritten ones have the new stamp, the others the old one.</summary>
    private static void Verify(string path, NativeBuffer page, long bytes, ulong seed, HashSet<int> rewritten)
    {
        int fd = Sys.Open(path, Libc.O_RDONLY);
        for (long offset = 0; offset < bytes; offset += PageBytes)
        {
            ulong expected = rewritten.Contains((int)(offset / PageBytes)) ? seed + 1 : seed;
            if (Sys.ReadFully(fd, page.Pointer, PageBytes) != PageBytes || !Content.IsRight(page.Pointer, PageBytes, expected, offset))
            {
                throw new BenchException($"wrong content at {offset} after random writes");
            }
        }

        Sys.Close(fd, path);
    }
}
