using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Tests.Mount.Protocol;

public class PassthroughTests
{
    [Fact]
    public void TheKernelReadsAndWritesTheBackingFileItself()
    {
        var fs = new MemoryFs();
        fs.File("f", "0123456789");
        string backing = Path.Combine("/dev/shm", "efs-backing-" + Guid.NewGuid().ToString("N"));
        File.WriteAllText(backing, "backing...");
        try
        {
            var handler = new PassthroughHandler(fs, backing);
            using var rig = new FuseRig(handler, o => o with { Passthrough = true });
            if (!rig.Connection.Negotiated.Has(FuseInitFlags.PASSTHROUGH))
            {
                // A kernel without it says so, and nothing is registered.
                Assert.Equal(Errno.EOPNOTSUPP, FuseBackingFiles.Open(rig.Connection, 0, out _));
                return;
            }
            Assert.Equal("backing...", Program.Output("cat", rig.PathOf("f")));
            Program.Output("sh", "-c", $"printf XY | dd of={rig.PathOf("f")} conv=notrunc status=none");
            Assert.Equal("XYcking...", File.ReadAllText(backing));
            Assert.Equal(0, handler.Count(FuseOpcode.READ));
            Assert.Equal(0, handler.Count(FuseOpcode.WRITE));
            Assert.Equal(2, handler.Opened);
            Assert.Equal(Errno.OK, FuseBackingFiles.Close(rig.Connection, handler.BackingId));
            Assert.Equal(Errno.ENOENT, FuseBackingFiles.Close(rig.Connection, handler.BackingId));
            Assert.Empty(rig.Faults);
        }
        finally
        {
            File.Delete(backing);
        }
    }

    private sealed class PassthroughHandler(MemoryFs fs, string backing) : MemoryFsHandler(fs)
    {
        public int BackingId { get; private set; }

        public int Opened { get; private set; }

        public override void Open(FuseRequest request)
        {
            lock (Fs.Gate)
            {
                // One id per inode: a second one while it is open would be EIO.
                Errno errno = BackingId == 0 ? Register(request.Connection) : Errno.OK;
                if (errno != Errno.OK)
                {
                    request.ReplyError(errno);
                    return;
                }
                Opened++;
                request.ReplyOpen(request.NodeId, FuseOpenFlags.PASSTHROUGH, BackingId);
            }
        }

        private Errno Register(FuseConnection connection)
        {
            using SafeFileHandle file = File.OpenHandle(backing, System.IO.FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
            Errno errno = FuseBackingFiles.Open(connection, (int)file.DangerousGetHandle(), out int id);
            BackingId = id;
            return errno;
        }
    }
}
