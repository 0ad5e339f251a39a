using EphemeralFs.Core;
using EphemeralFs.Tests.Mount.Posix;
using EphemeralFs.Tests.Mount.Programs;

namespace EphemeralFs.Tests.Mount.Cli;

/// <summary>The quota that <c>volume create</c> gave, as programs see it: in <c>df</c>, at <c>write(2)</c>, at <c>open(2)</c>.</summary>
public sealed class QuotaTests : IDisposable
{
    private const int Mega = 1 << 20, Page = 4096;
    private const int Bytes = 16 * Mega, Inodes = 10;

    private readonly CliHome cli = new();
    private readonly string first;
    private readonly string second;

    public QuotaTests()
    {
        cli.Up();
        (first, second) = (cli.MakeDirectory("first"), cli.MakeDirectory("second"));
        cli.Run("volume", "create", "small", "--size", "16MiB", "--inodes", $"{Inodes}").MustSucceed();
        cli.Run("mount", "small", first).MustSucceed();
        cli.Run("mount", "small", second, "--node", "node-2").MustSucceed();
    }

    public void Dispose() => cli.Dispose();

    [Fact]
    public void Df_shows_it()
    {
        Assert.All(new[] { first, second }, directory => Assert.Equal((Bytes, 0, Bytes), Df(directory, "size,used,avail")));
        Assert.All(new[] { first, second }, directory => Assert.Equal((Inodes, 0, Inodes), Df(directory, "itotal,iused,iavail")));
        int fd = Open(first, "f");
        Assert.Equal(5 * Mega, Native.Pwrite(fd, new byte[5 * Mega], 0));
        Expect.Ok(Native.Fsync(fd));
        Assert.Equal((Bytes, 5 * Mega, 11 * Mega), Df(first, "size,used,avail"));
        Assert.All(new[] { first, second }, directory => Assert.Equal((Inodes, 1, Inodes - 1), Df(directory, "itotal,iused,iavail")));
        // On the other node what the writer was granted ahead counts as used.
        var (size, used, available) = Df(second, "size,used,avail");
        Assert.Equal((Bytes, Bytes), (size, used + available));
        Assert.InRange(used, 5 * Mega, Bytes);
        Native.Close(fd);

        static (long, long, long) Df(string directory, string fields)
        {
            string[] line = Command.Script(directory, 30, $"df -B1 --output={fields} . | tail -n 1").MustSucceed().Split(' ', StringSplitOptions.RemoveEmptyEntries);
            return (long.Parse(line[0]), long.Parse(line[1]), long.Parse(line[2]));
        }
    }

    [Fact]
    public void Write_takes_what_fits_and_then_nothing()
    {
        int fd = Open(first, "f");
        Assert.Equal(Bytes - (2 * Page), Native.Pwrite(fd, new byte[Bytes - (2 * Page)], 0));
        // Two pages fit, three do not: a short write, then none; ENOSPC and not EDQUOT, so that programs say "no space left on device".
        Assert.Equal(2 * Page, Native.Pwrite(fd, new byte[3 * Page], Bytes - (2 * Page)));
        Expect.Fails(Errno.ENOSPC, Native.Pwrite(fd, new byte[1], Bytes));
        // What is there can be written over, and holes and names cost nothing.
        Assert.Equal(Page, Native.Pwrite(fd, new byte[Page], 0));
        Expect.Ok(Native.Ftruncate(fd, 1L << 40));
        Expect.Ok(Native.Ftruncate(fd, Bytes));
        // The other node has no room either.
        int other = Open(second, "g");
        Expect.Fails(Errno.ENOSPC, Native.Pwrite(other, new byte[1], 0));
        // Room that is given back on one node is there for the other at once.
        Expect.Ok(Native.Ftruncate(fd, Bytes - Page));
        Assert.Equal(Page, Native.Pwrite(other, new byte[Page], 0));
        Expect.Fails(Errno.ENOSPC, Native.Pwrite(other, new byte[1], Page));
        Native.Close(fd);
        Native.Close(other);
        File.Delete(Path.Combine(first, "f"));
        File.WriteAllBytes(Path.Combine(second, "h"), new byte[Bytes - Page]);
        Assert.Equal((ulong)Bytes, cli.Until(s => Volume(s).GetProperty("usedBytes").GetUInt64() == Bytes).List("volumes").First(v => v.Text("name") == "small").GetProperty("limitBytes").GetUInt64());
    }

    [Fact]
    public void Two_nodes_cannot_take_more_together()
    {
        string fill = "dd if=/dev/zero of=$WHO bs=64K count=1000 2>/dev/null; test $? = 1; stat -c %s $WHO";
        using var one = new Command(first, 60, "/bin/bash", "-c", fill).With("WHO", "a").Start();
        using var two = new Command(second, 60, "/bin/bash", "-c", fill).With("WHO", "b").Start();
        long a = long.Parse(one.Wait().MustSucceed()), b = long.Parse(two.Wait().MustSucceed());
        Assert.Equal(Bytes, a + b);
    }

    [Fact]
    public void A_file_too_many_is_refused()
    {
        for (int i = 0; i < Inodes; i++)
        {
            Native.Close(Open(i % 2 == 0 ? first : second, $"f{i}"));
        }
        foreach (string directory in new[] { first, second })
        {
            Expect.Fails(Errno.ENOSPC, Native.Open(Path.Combine(directory, "more"), Native.O_CREAT | Native.O_WRONLY, Expect.Octal(644)));
        }
        File.Delete(Path.Combine(second, "f0"));
        Native.Close(Open(first, "more"));
    }

    [Fact]
    public void The_limit_of_the_process_is_EFBIG()
    {
        // RLIMIT_FSIZE: a write that fits in part is short, the next is EFBIG (with SIGXFSZ ignored); python reports both.
        string script = """
            import os, resource, signal
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))
            fd = os.open('limited', os.O_CREAT | os.O_WRONLY)
            print(os.write(fd, bytes(8000)), os.write(fd, bytes(8000)))
            try:
                os.write(fd, b'x')
            except OSError as e:
                print(e.errno, os.fstat(fd).st_size)
            """;
        Assert.Equal($"8000 2000\n{(int)Errno.EFBIG} 10000\n", new Command(first, 30, Tool.Python, "-c", script).Run().MustSucceed());
    }

    private static System.Text.Json.JsonElement Volume(System.Text.Json.JsonElement status) => status.List("volumes").First(v => v.Text("name") == "small");

    private static int Open(string directory, string name) =>
        Expect.Fd(Native.Open(Path.Combine(directory, name), Native.O_CREAT | Native.O_RDWR, Expect.Octal(644)));
}
