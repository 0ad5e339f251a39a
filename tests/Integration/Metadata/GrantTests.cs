using EphemeralFs.Core;
using EphemeralFs.Metadata;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

public class GrantTests : MetadataFixture
{
    private const ulong Page = Limits.PageSizeBytes;

    protected override ulong LimitBytes => 10 * Page;

    protected override MetadataOptions Configure(MetadataOptions options) => options with { GrantRecallTimeoutMs = 2000 };

    [Fact]
    public async Task Unused_grant_of_others_is_called_back_before_anybody_is_refused()
    {
        var rich = await NodeAsync("rich");
        var poor = await NodeAsync("poor");
        rich.GiveBack = () => 7 * Page;
        Assert.Equal(10 * Page, (await rich.CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(20 * Page, 0, 0))).Value.Bytes);
        Assert.Equal(7 * Page, (await poor.CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(20 * Page, 0, 0)).WaitAsync(Patience)).Value.Bytes);
        rich.GiveBack = () => 2 * Page;
        var file = (await poor.CreateAsync("f")).Value.Attributes.Ino;
        var allocated = await poor.CallAsync<FallocateRequest, EntryReply>(new(file, 0, 0, 2 * Page, false)).WaitAsync(Patience);
        Assert.Equal((Status.OK, 2 * Page), (allocated.Status, allocated.Value.Attributes.AllocatedBytes));
        rich.GiveBack = null;
        Assert.Equal(
            Errno.ENOSPC.ToStatus(),
            (await poor.CallAsync<FallocateRequest, EntryReply>(new(file, 0, 0, 3 * Page, false)).WaitAsync(Patience)).Status);
        Assert.Equal(0UL, (await poor.CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(Page, 0, 0)).WaitAsync(Patience)).Value.Bytes);
        var usage = (await poor.ReadAsync<StatFsRequest, StatFsReply>(default)).Value;
        Assert.Equal((10 * Page, 2 * Page, 8 * Page), (usage.LimitBytes, usage.UsedBytes, usage.GrantedBytes));
    }

    [Fact]
    public async Task A_node_that_claims_to_give_back_more_than_it_has_gives_what_it_has()
    {
        var liar = await NodeAsync("liar");
        liar.GiveBack = () => ulong.MaxValue;
        await liar.CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(6 * Page, 0, 0));
        var other = await NodeAsync("other");
        Assert.Equal(10 * Page, (await other.CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(20 * Page, 0, 0)).WaitAsync(Patience)).Value.Bytes);
    }

    /// <summary>The successor was told what is granted when it took over: it counts with that.</summary>
    [Fact]
    public async Task What_a_dead_daemon_gave_back_counts_no_more_when_its_successor_has_taken_over()
    {
        var rich = await NodeAsync("rich");
        var poor = await NodeAsync("poor");
        Assert.Equal(10 * Page, (await rich.CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(20 * Page, 0, 0))).Value.Bytes);
        using var asked = new ManualResetEventSlim();
        using var answered = new ManualResetEventSlim();
        rich.GiveBack = () =>
        {
            asked.Set();
            answered.Wait();
            return 10 * Page;
        };
        var acquiring = poor.CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(Page, 0, 0));
        await Task.Run(() => Assert.True(asked.Wait(Patience)));
        var successor = Track(await rich.ResumeAsync());
        answered.Set();
        Assert.Equal(0UL, (await acquiring.WaitAsync(Patience)).Value.Bytes);
        Assert.Equal(10 * Page, (await successor.ReadAsync<StatFsRequest, StatFsReply>(default)).Value.GrantedBytes);
    }

    [Fact]
    public async Task Space_is_allocated_out_of_the_sessions_own_unused_grant_too()
    {
        var node = await NodeAsync();
        await node.CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(10 * Page, 0, 0));
        node.GiveBack = () => 4 * Page;
        var file = (await node.CreateAsync("f")).Value.Attributes.Ino;
        Assert.Equal(Status.OK, (await node.CallAsync<FallocateRequest, EntryReply>(new(file, 0, 0, 4 * Page, false)).WaitAsync(Patience)).Status);
        node.GiveBack = null;
        Assert.Equal(
            Errno.ENOSPC.ToStatus(), (await node.CallAsync<FallocateRequest, EntryReply>(new(file, 0, 0, 5 * Page, false)).WaitAsync(Patience)).Status);
    }

    [Fact]
    public async Task Grants_survive_a_restart_and_a_called_back_one_too()
    {
        var rich = await NodeAsync("rich");
        var poor = await NodeAsync("poor");
        rich.GiveBack = () => 3 * Page;
        await rich.CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(10 * Page, 0, 0));
        await poor.CallAsync<AcquireGrantRequest, AcquireGrantReply>(new(5 * Page, 0, 0)).WaitAsync(Patience);
        var before = Host.Dump(1);
        Restart();
        Assert.Equal(before, Host.Dump(1));
        Assert.Equal(10 * Page, Metric("ephemeralfs_metadata_granted_bytes"));
    }
}
