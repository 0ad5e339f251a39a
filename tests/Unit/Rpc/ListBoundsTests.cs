using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Unit.Rpc;

/// <summary>A list's smallest element must not be taken for a hostile count.</summary>
public sealed class ListBoundsTests
{
    [Fact]
    public void TheSmallestElementsOfEveryListAreRead()
    {
        RoundTrip(new GetVolumesReply([new VolumeStatus(1, "", "", 0, 0, 0, 0, 0)], true));
        RoundTrip(new ListVolumesReply([new VolumeStatus(1, "", "", 0, 0, 0, 0, 0)], true, 1, []));
        RoundTrip(new ListVolumesReply([], true, 1, [new KnownServer(ServerRole.Storage, 1, "", "")]));
        RoundTrip(new GetViewReply([new ServerStatus(ServerRole.Node, 1, "", "", "", 0, true, 0, [], [])], true));
        RoundTrip(new StorageStatusReply([new TierStatus(default, 0, 0, 0, true, "")]));
        RoundTrip(new NodeStatusReply("", 0, [new MountStatus("", "", 0, "")]));
        RoundTrip(new ReadDirReply([new DirectoryEntry(1, 1, 4, default, default)], true));
        RoundTrip(new ListBlocksReply([1], true));
        RoundTrip(new LayoutReply(default, false, default, [new(0, 1, 1, 0, 1)], 1));
    }

    [Fact]
    public void ACountThatCannotFollowIsRefused()
    {
        var writer = new WireWriter(new byte[16]);
        writer.U32(uint.MaxValue);
        var reader = new WireReader(writer.Written.ToArray(), copy: true);
        _ = GetVolumesReply.Read(ref reader);
        Assert.True(reader.Failed);
    }

    private static void RoundTrip<T>(T message)
        where T : struct, IWireMessage<T>
    {
        var writer = new WireWriter(new byte[16]);
        message.Write(ref writer);
        var reader = new WireReader(writer.Written.ToArray(), copy: true);
        _ = T.Read(ref reader);
        Assert.True(reader.AtEnd, typeof(T).Name);
    }
}
