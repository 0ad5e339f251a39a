using System.Diagnostics;
using System.Globalization;
using EphemeralFs.Core;
using EphemeralFs.Metadata.Namespace;
using EphemeralFs.Metadata.Namespace.Operations;
using EphemeralFs.Rpc.Messages;
using Xunit.Abstractions;

namespace EphemeralFs.Tests.Unit.Metadata;

/// <summary>A directory of a million files: complete, and measured.</summary>
public class LargeDirectoryTests(ITestOutputHelper output)
{
    private const int Files = 1_000_000;

    [Fact]
    public void A_million_files_can_be_made_listed_found_and_removed()
    {
        var v = new VolumeState(TestVolume.Id, 0, 0, 1);
        var context = new OpContext();
        var session = SessionLife.Begin(v, "n");
        var numbers = new ulong[Files];
        for (var i = 0; i < Files;)
        {
            AcquireGrant.Apply(v, context.Begin(session, 1), new AcquireGrantRequest(0, 4096, 0), out var grant);
            for (var n = 0U; n < grant.Inodes && i < Files; n++)
            {
                numbers[i++] = grant.FirstInode + n;
            }
        }

        var before = GC.GetTotalMemory(forceFullCollection: true);
        var clock = Stopwatch.StartNew();
        for (var i = 0; i < Files; i++)
        {
            var request = new MknodRequest(Ino.Root, numbers[i], Name(i), TestVolume.FileBits, 1, 2, 0, default);
            Assert.Equal(Status.OK, Mknod.Apply(v, context.Begin(session, i), request, out _));
        }

        Report("create", clock);
        var bytes = (GC.GetTotalMemory(forceFullCollection: true) - before) / (double)Files;
        output.WriteLine($"{bytes:0} bytes per entry, {v.Inodes.Find(Ino.Root)!.Directory.MemoryBytes / (double)Files:0} of them in the directory");
        Assert.InRange(bytes, 50, 300);

        clock.Restart();
        var seen = 0;
        var answers = 0;
        for (ulong cookie = 0; ;)
        {
            ReadDir.Apply(v, context.Begin(session, 1), new ReadDirRequest(Ino.Root, cookie, 64 << 10, true), out var reply);
            seen += reply.Entries.Length;
            answers++;
            if (reply.End)
            {
                break;
            }

            cookie = reply.Entries[^1].Cookie;
        }

        Assert.Equal(Files + 2, seen);
        Report($"list in {answers} answers", clock);

        clock.Restart();
        for (var i = 0; i < Files; i++)
        {
            Lookup.Apply(v, context.Begin(session, 1), new LookupRequest(Ino.Root, Name(i)), out var reply);
            Assert.Equal(numbers[i], reply.Attributes.Ino);
        }

        Report("lookup", clock);

        // As rm -r does it: list a part, remove it, list on from its last cookie.
        clock.Restart();
        for (ulong cookie = 0; ;)
        {
            ReadDir.Apply(v, context.Begin(session, 1), new ReadDirRequest(Ino.Root, cookie, 64 << 10, false), out var reply);
            foreach (var entry in reply.Entries.Where(e => e.Cookie > 2).Select(e => e with { Name = e.Name.ToArray() }).ToArray())
            {
                Assert.Equal(Status.OK, Unlink.Apply(v, context.Begin(session, 1), new UnlinkRequest(Ino.Root, entry.Name), out _));
            }

            if (reply.End)
            {
                break;
            }

            cookie = reply.Entries[^1].Cookie;
        }

        Report("list and unlink", clock);
        Assert.Equal((0UL, 0L), (v.UsedInodes, v.Dentries));
        Invariants.Check(v);
    }

    private static byte[] Name(int i) => TestVolume.Name("file-" + i.ToString("D7", CultureInfo.InvariantCulture));

    private void Report(string what, Stopwatch clock) =>
        output.WriteLine($"{what}: {clock.Elapsed.TotalMicroseconds / Files:0.00} us each");
}
