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

    /// <summary>A node may be unable to acknowledge until another one has: that one is ended, whichever was asked first.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Of_two_that_do_not_acknowledge_the_one_that_waits_for_the_other_lives(bool otherIsAskedFirst)
    {
        var mute = await NodeAsync("mute");
        var waiting = await NodeAsync("waiting");
        var other = await NodeAsync("other");
        using Renewal first = new(mute), second = new(waiting), third = new(other);
        var never = new TaskCompletionSource();
        mute.BeforeAcknowledge = _ => never.Task;
        var f = (await mute.CreateAsync("f")).Value.Attributes.Ino;
        var g = (await waiting.CreateAsync("g")).Value.Attributes.Ino;

        // Its own write waits for the mute one, and its acknowledgement for its write.
        var written = new TaskCompletionSource();
        waiting.BeforeAcknowledge = _ => written.Task;
        Func<Task<RpcResult<OpenReply>>>[] opens =
            [() => waiting.OpenFileAsync(f, OpenFlags.Write, slot: 1), () => other.OpenFileAsync(g, OpenFlags.Write)];
        TestNode[] asked = [mute, waiting];
        var (earlier, later) = otherIsAskedFirst ? (0, 1) : (1, 0);
        var results = new Task<RpcResult<OpenReply>>[2];
        results[earlier] = opens[earlier]();
        await UntilAsync(() => !asked[earlier].Recalls.IsEmpty, "the first one is asked");
        var then = Environment.TickCount64;
        await UntilAsync(() => Environment.TickCount64 > then + 1, "the next one is asked later, in milliseconds");
        results[later] = opens[later]();
        Assert.Equal(Status.OK, (await results[0].WaitAsync(Patience)).Status);
        written.SetResult();
        var opened = await results[1].WaitAsync(Patience);
        Assert.Equal((Status.OK, DataMode.Through), (opened.Status, opened.Value.Mode));
        Assert.Equal(Status.UnknownSession, (await mute.ReadAsync<StatFsRequest, StatFsReply>(default)).Status);
        Assert.Equal(Status.OK, (await waiting.ReadAsync<StatFsRequest, StatFsReply>(default)).Status);
        never.SetResult();
    }

    /// <summary>What was prepared while the session lived comes too late, whoever holds the file and the locks by then.</summary>
    [Fact]
    public async Task Nothing_of_a_session_that_has_ended_is_accepted()
    {
        var late = await NodeAsync("late");
        var file = (await late.CreateAsync("f")).Value.Attributes.Ino;
        Assert.Equal(Status.OK, (await late.LockAsync(file, 1, LockType.Write)).Status);
        await UntilAsync(() => Metric("ephemeralfs_metadata_sessions") == 0, "the session expires");
        Assert.Equal(1, Metric("ephemeralfs_metadata_sessions_expired_total"));

        Assert.Equal(Status.UnknownSession, (await late.WriteInlineAsync(file, "late")).Status);
        Assert.Equal(Status.UnknownSession, (await late.CallAsync<SetAttrRequest, EntryReply>(new(file, SetAttrFields.Size, 0, 0, 0, 5, 0, 0))).Status);
        Assert.Equal(Status.UnknownSession, (await late.LockAsync(file, 1, LockType.Write)).Status);
        Assert.Equal(Status.UnknownSession, (await late.LockAsync(file, 1, LockType.Unlock)).Status);
        Assert.Equal(Status.UnknownSession, (await late.CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(4096, 1, 1))).Status);
        Assert.Equal(Status.UnknownSession, (await late.OpenFileAsync(file, OpenFlags.Write)).Status);
        Assert.Equal(Status.UnknownSession, (await late.CallAsync<UnlinkRequest, NameReply>(new(Ino.Root, TestNode.Name("f")))).Status);
        Assert.Equal(Status.UnknownSession, (await late.ReadAsync<RenewSessionRequest, Empty>(default)).Status);
        Assert.NotEqual(Status.OK, await late.TryResumeAsync());

        var other = await NodeAsync("other");
        var found = (await other.ReadAsync<LookupRequest, EntryReply>(new(Ino.Root, TestNode.Name("f")))).Value.Attributes;
        Assert.Equal((file, 0UL), (found.Ino, found.Size));
        Assert.Equal(Status.OK, (await other.LockAsync(file, 1, LockType.Write)).Status);
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
