using EphemeralFs.Core;
using EphemeralFs.Metadata;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

public class SessionExpiryTests : MetadataFixture
{
    protected override ulong LimitBytes => 1 << 20;

    protected override MetadataOptions Configure(MetadataOptions options) => options with { SessionTimeoutMs = 1500, SessionMarginMs = 100 };

    [Fact]
    public async Task What_a_silent_session_held_is_free_again()
    {
        var silent = await NodeAsync("silent");
        var alive = await NodeAsync("alive");
        using var renewing = new Renewal(alive);
        var file = (await silent.CreateAsync("f")).Value.Attributes.Ino;
        await silent.WriteInlineAsync(file, "x");
        await silent.CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(512 << 10, 0, 0));
        await alive.OpenFileAsync(file, OpenFlags.None);
        Assert.Equal(Status.OK, (await silent.LockAsync(file, 1, LockType.Write)).Status);
        await silent.CallAsync<UnlinkRequest, NameReply>(new(Ino.Root, TestNode.Name("f")));
        await silent.CreateAsync("unnamed");
        await silent.CallAsync<UnlinkRequest, NameReply>(new(Ino.Root, TestNode.Name("unnamed")));
        silent.Dispose();

        // The waiting lock is granted by the end of the session that holds it.
        Assert.Equal(Status.OK, (await alive.LockAsync(file, 1, LockType.Write, wait: true, slot: 1).WaitAsync(Patience)).Status);
        var usage = (await alive.ReadAsync<StatFsRequest, StatFsReply>(default)).Value;
        Assert.Equal((0UL, 1UL), (usage.GrantedBytes, usage.UsedInodes));
        Assert.Equal(1, Metric("ephemeralfs_metadata_sessions"));
    }

    [Fact]
    public async Task A_session_that_does_not_acknowledge_is_ended_and_the_others_go_on()
    {
        var mute = await NodeAsync("mute");
        using var renewing = new Renewal(mute);
        var other = await NodeAsync("other");
        using var alsoRenewing = new Renewal(other);
        var never = new TaskCompletionSource();
        mute.BeforeAcknowledge = _ => never.Task;
        var file = (await mute.CreateAsync("f")).Value.Attributes.Ino;
        var opened = await other.OpenFileAsync(file, OpenFlags.Write).WaitAsync(Patience);
        Assert.Equal((Status.OK, DataMode.Cached), (opened.Status, opened.Value.Mode));
        Assert.Equal(Status.UnknownSession, (await mute.ReadAsync<StatFsRequest, StatFsReply>(default)).Status);
        never.SetResult();
    }

    [Fact]
    public async Task After_a_restart_every_session_has_its_time_out_again()
    {
        var node = await NodeAsync();
        await node.CreateAsync("f");
        Restart();
        Assert.Equal(Status.OK, await node.TryResumeAsync());
        node.Dispose();
        await UntilAsync(() => Metric("ephemeralfs_metadata_sessions") == 0, "the session expires");
        Restart();
        Assert.Equal(0, Metric("ephemeralfs_metadata_sessions"));
        Assert.Equal(Status.OK, await (await NodeAsync()).LookupAsync("f"));
    }

    /// <summary>Keeps a session alive until disposed.</summary>
    private sealed class Renewal : IDisposable
    {
        private readonly Timer _timer;

        public Renewal(TestNode node) =>
            _timer = new Timer(_ => node.ReadAsync<RenewSessionRequest, Empty>(default), null, 0, 200);

        public void Dispose() => _timer.Dispose();
    }
}
