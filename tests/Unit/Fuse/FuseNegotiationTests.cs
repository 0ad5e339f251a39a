using EphemeralFs.Core;
using EphemeralFs.FuseMount.Fuse;

namespace EphemeralFs.Tests.Unit.Fuse;

public class FuseNegotiationTests
{
    private static FuseNegotiated Agree(FuseInitIn offer, FuseConnectionOptions options, out FuseInitOut reply)
    {
        Assert.Equal(Errno.OK, FuseNegotiation.Answer(offer, options, out reply, out FuseNegotiated? agreed));
        return agreed!;
    }

    [Fact]
    public void NewestKernelGetsWhatIsWantedAndNothingElse()
    {
        FuseNegotiated agreed = Agree(FakeKernel.Offer(), new FuseConnectionOptions(), out FuseInitOut reply);
        Assert.Equal(FuseConnectionOptions.DefaultFlags & agreed.Flags, agreed.Flags);
        Assert.True(agreed.Has(FuseInitFlags.HAS_RESEND | FuseInitFlags.HAS_EXPIRE_ONLY | FuseInitFlags.SETXATTR_EXT));
        Assert.False(agreed.Has(FuseInitFlags.WRITEBACK_CACHE));
        Assert.False(agreed.Has(FuseInitFlags.PASSTHROUGH));
        Assert.Equal((45u, 1 << 20, 256, 131072), (agreed.Minor, agreed.MaxWriteBytes, agreed.MaxPages, agreed.MaxReadaheadBytes));
        Assert.Equal((ulong)agreed.Flags, reply.Flags | ((ulong)reply.Flags2 << 32));
        Assert.Equal((7u, 45u, 1u << 20, (ushort)256), (reply.Major, reply.Minor, reply.MaxWrite, reply.MaxPages));
    }

    [Theory]
    [InlineData(31u)]
    [InlineData(35u)]
    [InlineData(38u)]
    [InlineData(99u)]
    public void OtherMinorsMeetAtTheSmaller(uint minor)
    {
        FuseInitIn offer = FakeKernel.Offer(minor: minor);
        if (minor < 36)
        {
            // Flags above bit 31 are noise without INIT_EXT.
            offer.Flags &= ~(uint)FuseInitFlags.INIT_EXT;
            offer.Flags2 = 0x5fd;
        }
        FuseNegotiated agreed = Agree(offer, new FuseConnectionOptions(), out FuseInitOut reply);
        Assert.Equal(Math.Min(minor, 45), agreed.Minor);
        Assert.Equal(agreed.Minor, reply.Minor);
        Assert.Equal(minor >= 36, agreed.Has(FuseInitFlags.HAS_RESEND));
        Assert.Equal(minor >= 36, reply.Flags2 != 0);
    }

    [Theory]
    [InlineData(7u, 30u)]
    [InlineData(6u, 45u)]
    public void OlderKernelsAreRefused(uint major, uint minor)
    {
        Assert.Equal(
            Errno.EPROTO, FuseNegotiation.Answer(FakeKernel.Offer(major, minor), new(), out _, out FuseNegotiated? agreed));
        Assert.Null(agreed);
    }

    [Fact]
    public void WithoutMaxPagesWritesAre32Pages()
    {
        FuseInitIn offer = FakeKernel.Offer();
        offer.Flags &= ~(uint)FuseInitFlags.MAX_PAGES;
        FuseNegotiated agreed = Agree(offer, new FuseConnectionOptions(), out _);
        Assert.Equal((32, 32 * 4096), (agreed.MaxPages, agreed.MaxWriteBytes));
    }

    [Fact]
    public void PassthroughExcludesTheWritebackCache()
    {
        var options = new FuseConnectionOptions
        {
            Passthrough = true, Flags = FuseConnectionOptions.DefaultFlags | FuseInitFlags.WRITEBACK_CACHE,
        };
        FuseNegotiated agreed = Agree(FakeKernel.Offer(), options, out FuseInitOut reply);
        Assert.True(agreed.Has(FuseInitFlags.PASSTHROUGH));
        Assert.False(agreed.Has(FuseInitFlags.WRITEBACK_CACHE));
        Assert.Equal(1u, reply.MaxStackDepth);
        Assert.True(Agree(FakeKernel.Offer(), options with { Passthrough = false }, out _).Has(FuseInitFlags.WRITEBACK_CACHE));
    }

    [Fact]
    public void ResultSurvivesJson()
    {
        FuseNegotiated agreed = Agree(FakeKernel.Offer(), new FuseConnectionOptions(), out _);
        string json = System.Text.Json.JsonSerializer.Serialize(agreed);
        Assert.Equal(agreed, System.Text.Json.JsonSerializer.Deserialize<FuseNegotiated>(json));
    }

    [Fact]
    public async Task AnOldMinorIsServedOverAConnection()
    {
        var kernel = new FakeKernel(1);
        FuseInitIn offer = FakeKernel.Offer(minor: 31);
        offer.Flags &= ~(uint)(FuseInitFlags.INIT_EXT | FuseInitFlags.SETXATTR_EXT);
        // As a 7.31 kernel sends it: 16 bytes.
        byte[] init = FuseMessages.Build(FuseOpcode.INIT, kernel.NextUnique(), 0, offer)[..56];
        init[0] = 56;
        Task<FakeReply> initReply = kernel.Submit(init);
        var handler = new RecordingHandler();
        using FuseConnection connection = FuseConnection.Open(handler, new FuseConnectionOptions { Workers = 1 }, kernel.Channels);
        connection.Start();
        Assert.Equal(64, (await initReply).Data.Length);
        Assert.Equal(31u, connection.Negotiated.Minor);

        byte[] setxattr = FuseMessages.Build(FuseOpcode.SETXATTR, kernel.NextUnique(), 1, [2, 0, 0, 0, 0, 0, 0, 0, (byte)'k', 0, 8, 9]);
        Assert.Equal(Errno.OK, (await kernel.Submit(setxattr)).Errno);
        Assert.Equal(("k", "0809", 0u), handler.LastXAttr);
        // What 7.44 and 7.40 brought is not there.
        Assert.Equal(Errno.EOPNOTSUPP, await connection.Notifier.IncrementEpochAsync());
        Assert.Equal(Errno.EOPNOTSUPP, await connection.Notifier.ResendAsync());
        kernel.End(Errno.ENODEV);
        Assert.Equal(FuseEndReason.Unmounted, (await connection.Completion).Reason);
    }

    [Fact]
    public async Task ATooOldKernelIsAnsweredAndRefusedInOneLine()
    {
        var kernel = new FakeKernel(1);
        Task<FakeReply> reply = kernel.Submit(FuseMessages.Build(FuseOpcode.INIT, 2, 0, FakeKernel.Offer(minor: 23)));
        FuseProtocolException e = Assert.Throws<FuseProtocolException>(
            () => FuseConnection.Open(new RecordingHandler(), new FuseConnectionOptions(), kernel.Channels));
        Assert.Contains("7.23", e.Message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', e.Message);
        Assert.Equal(Errno.EPROTO, (await reply).Errno);
    }

    [Fact]
    public async Task ANewerMajorOffersAgain()
    {
        var kernel = new FakeKernel(1);
        Task<FakeReply> first = kernel.Submit(FuseMessages.Build(FuseOpcode.INIT, 2, 0, FakeKernel.Offer(major: 8)));
        Task<FakeReply> second = kernel.Submit(FuseMessages.Build(FuseOpcode.INIT, 4, 0, FakeKernel.Offer()));
        using FuseConnection connection = FuseConnection.Open(new RecordingHandler(), new FuseConnectionOptions(), kernel.Channels);
        Assert.Equal(7, (await first).Data[0]);
        Assert.Equal(Errno.OK, (await second).Errno);
        Assert.Equal(45u, connection.Negotiated.Minor);
    }

    [Fact]
    public void AFirstMessageThatIsNotInitIsRefused()
    {
        var kernel = new FakeKernel(1);
        kernel.Post(FuseMessages.Build(FuseOpcode.LOOKUP, 2, 1, "a\0"u8));
        Assert.Throws<FuseProtocolException>(
            () => FuseConnection.Open(new RecordingHandler(), new FuseConnectionOptions(), kernel.Channels));
    }
}
