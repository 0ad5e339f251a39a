using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;
using EphemeralFs.Interop;

namespace EphemeralFs.Tests.Unit.Fuse;

public class FuseAllocationTests
{
    private const int WarmUp = 5_000;
    private const int Measured = 10_000;
    private const int Rounds = 3;

    [Fact]
    public async Task TenThousandDispatchesAllocateNothing()
    {
        byte[] init = FuseMessages.Build(FuseOpcode.INIT, 2, 0, FakeKernel.Offer());
        byte[][] messages =
        [
            FuseMessages.Build(FuseOpcode.LOOKUP, 2, 1, FuseMessages.Name("a-file-name")),
            FuseMessages.Build(FuseOpcode.GETATTR, 4, 1, new FuseGetattrIn()),
            FuseMessages.Build(FuseOpcode.READ, 6, 1, new FuseReadIn { Size = 4096 }),
            FuseMessages.Build(FuseOpcode.WRITE, 8, 1, new FuseWriteIn { Size = 100 }, new byte[100]),
            FuseMessages.Build(FuseOpcode.WRITE, 10, 1, new FuseWriteIn { Size = 131072 }, new byte[131072]),
            FuseMessages.Build(FuseOpcode.FORGET, 12, 1, new FuseForgetIn { Nlookup = 1 }),
            FuseMessages.Build(FuseOpcode.READLINK, 14, 1, []),
            FuseMessages.Build(FuseOpcode.RENAME, 16, 1, new FuseRenameIn(), FuseMessages.Name("a"), FuseMessages.Name("b")),
            FuseMessages.Build(FuseOpcode.SETUPMAPPING, 18, 1, []),
            FuseMessages.Build(FuseOpcode.LOOKUP, 20, 1, "not terminated"u8),
        ];
        var channel = new LoopChannel(init, messages);
        using FuseConnection connection = FuseConnection.Open(
            new FrugalHandler(), new FuseConnectionOptions { Workers = 1, SlowOperationMs = 10_000 }, [channel]);
        connection.Start();
        Assert.Equal(FuseEndReason.Unmounted, (await connection.Completion.WaitAsync(TimeSpan.FromMinutes(1))).Reason);
        Assert.True(channel.Replies > Measured * 8 / 10);
        Assert.Equal(0, channel.AllocatedBytes);
    }

    /// <summary>Uses what a handler is given, and allocates nothing itself.</summary>
    private sealed class FrugalHandler : FuseHandler
    {
        public override void Lookup(FuseRequest request) =>
            request.ReplyEntry(new FuseEntryOut { NodeId = (ulong)request.NameMemory.Length });

        public override void GetAttr(FuseRequest request) => request.ReplyAttr(new FuseAttrOut { AttrValid = request.In<FuseGetattrIn>().Fh });

        public override void Read(FuseRequest request)
        {
            Memory<byte> data = request.RentReply((int)request.In<FuseReadIn>().Size);
            var writer = new DirentWriter(data.Span);
            writer.TryAdd(1, 1, 8, "name"u8);
            request.ReplyData(writer.Written);
        }

        public override void Write(FuseRequest request) => request.ReplyWrite((uint)request.PayloadMemory.Length);

        public override void ReadLink(FuseRequest request) =>
            request.Run(this, static (r, _) =>
            {
                r.ReplyData("tar"u8, "get"u8);
                return ValueTask.CompletedTask;
            });

        public override void Rename(FuseRequest request) =>
            request.ReplyError(request.In<FuseRename2In>().Flags == FuseRenameFlags.None ? Errno.OK : Errno.EINVAL);
    }

    /// <summary>
    /// Gives the same messages again and again, and measures what its reader allocates meanwhile: the least of the rounds, for what the runtime allocates once for
    /// a thread, such as for a lock that was contended, is no dispatch's.
    /// </summary>
    private sealed unsafe class LoopChannel(byte[] init, byte[][] messages) : FuseChannel
    {
        private int _given = -1;
        private long _before;

        public int Replies { get; private set; }

        public long AllocatedBytes { get; private set; } = long.MaxValue;

        public override Errno Receive(byte* buffer, int capacity, out int length)
        {
            length = 0;
            int index = _given++;
            if (index >= WarmUp && (index - WarmUp) % Measured == 0)
            {
                long now = GC.GetAllocatedBytesForCurrentThread();
                AllocatedBytes = index == WarmUp ? AllocatedBytes : Math.Min(AllocatedBytes, now - _before);
                if (index == WarmUp + (Rounds * Measured))
                {
                    return Errno.ENODEV;
                }
                (_before, Replies) = (now, 0);
            }
            byte[] message = index < 0 ? init : messages[index % messages.Length];
            message.CopyTo(new Span<byte>(buffer, capacity));
            length = message.Length;
            return Errno.OK;
        }

        public override Errno Send(IoVec* segments, int count)
        {
            Replies++;
            return Errno.OK;
        }

        public override void Wake(int osThreadId) { }
    }
}
