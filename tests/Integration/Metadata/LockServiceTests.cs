using EphemeralFs.Core;
using EphemeralFs.Rpc;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Integration.Metadata;

public class LockServiceTests : MetadataFixture
{
    private TestNode _a = null!;
    private TestNode _b = null!;
    private ulong _file;

    public override async Task InitializeAsync()
    {
        await base.InitializeAsync();
        _a = await NodeAsync("a");
        _b = await NodeAsync("b");
        _file = (await _a.CreateAsync("f", OpenFlags.None)).Value.Attributes.Ino;
        await _b.OpenFileAsync(_file, OpenFlags.None);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_waiting_lock_is_granted_when_the_holder_lets_go(bool flock)
    {
        Assert.Equal(Status.OK, (await _a.LockAsync(_file, 1, LockType.Write, flock: flock)).Status);
        Assert.Equal(Errno.EAGAIN.ToStatus(), (await _b.LockAsync(_file, 1, LockType.Read, flock: flock)).Status);
        var waiting = _b.LockAsync(_file, 1, LockType.Read, wait: true, flock: flock, slot: 5);
        await UntilAsync(() => Metric("ephemeralfs_metadata_lock_waiters") == 1, "the lock waits");
        Assert.False(waiting.IsCompleted);
        await _a.LockAsync(_file, 1, LockType.Unlock, flock: flock);
        Assert.Equal(Status.OK, (await waiting.WaitAsync(Patience)).Status);
        var before = Host.Dump(1);
        Restart();
        Assert.Equal(before, Host.Dump(1));
        Assert.Equal(1, Metric("ephemeralfs_metadata_locks"));

        // The grant is the slot's last answer.
        var again = await _b.SendAsync<SetLockRequest, Empty>(
            new(_file, 1, flock, true, new LockRange(LockType.Read, 0, long.MaxValue, 1)), 5, _b.LastSequence(5));
        Assert.Equal(Status.OK, again.Status);
    }

    [Fact]
    public async Task A_waiting_lock_survives_the_loss_of_its_connection_and_of_the_server()
    {
        await _a.LockAsync(_file, 1, LockType.Write);
        var request = new SetLockRequest(_file, 9, false, true, new LockRange(LockType.Write, 0, 10, 1));
        var lost = _b.SendAsync<SetLockRequest, Empty>(request, 5, 1);
        await UntilAsync(() => Metric("ephemeralfs_metadata_lock_waiters") == 1, "the lock waits");
        _b.Reconnect();
        await lost.WaitAsync(Patience);
        var again = _b.SendAsync<SetLockRequest, Empty>(request, 5, 1);
        Restart();
        await UntilAsync(() => Metric("ephemeralfs_metadata_lock_waiters") == 1, "the lock waits again");
        await _a.LockAsync(_file, 1, LockType.Unlock);
        Assert.Equal(Status.OK, (await again.WaitAsync(Patience)).Status);
        Assert.Equal(1, Metric("ephemeralfs_metadata_locks"));
    }

    [Fact]
    public async Task Waiting_can_be_cancelled()
    {
        await _a.LockAsync(_file, 1, LockType.Write);
        var waiting = _b.LockAsync(_file, 1, LockType.Write, wait: true, slot: 5);
        await UntilAsync(() => Metric("ephemeralfs_metadata_lock_waiters") == 1, "the lock waits");
        Assert.Equal(Status.OK, (await _b.ReadAsync<CancelLockRequest, Empty>(new(5, _b.LastSequence(5) + 1))).Status);
        Assert.False(waiting.IsCompleted);
        Assert.Equal(Status.OK, (await _b.ReadAsync<CancelLockRequest, Empty>(new(5, _b.LastSequence(5)))).Status);
        Assert.Equal(Errno.EINTR.ToStatus(), (await waiting.WaitAsync(Patience)).Status);
        Assert.Equal(0, Metric("ephemeralfs_metadata_lock_waiters"));
        await _a.LockAsync(_file, 1, LockType.Unlock);
        Assert.Equal(0, Metric("ephemeralfs_metadata_locks"));
        Assert.Equal(Status.OK, (await _b.LockAsync(_file, 1, LockType.Write, slot: 5)).Status);
        Assert.Equal(Status.OK, (await _b.ReadAsync<CancelLockRequest, Empty>(new(5, _b.LastSequence(5)))).Status);
        Assert.Equal(1, Metric("ephemeralfs_metadata_locks"));
    }

    [Fact]
    public async Task A_cycle_of_waits_is_refused()
    {
        var other = (await _a.CreateAsync("g", OpenFlags.None)).Value.Attributes.Ino;
        await _a.LockAsync(_file, 1, LockType.Write);
        await _b.LockAsync(other, 1, LockType.Write);
        var waiting = _a.LockAsync(other, 1, LockType.Write, wait: true, slot: 5);
        await UntilAsync(() => Metric("ephemeralfs_metadata_lock_waiters") == 1, "the lock waits");
        Assert.Equal(Errno.EDEADLK.ToStatus(), (await _b.LockAsync(_file, 1, LockType.Write, wait: true, slot: 5)).Status);
        await _b.LockAsync(other, 1, LockType.Unlock);
        Assert.Equal(Status.OK, (await waiting.WaitAsync(Patience)).Status);
    }

    [Fact]
    public async Task A_flock_that_is_lost_by_a_failed_conversion_is_lost_after_a_restart_too()
    {
        await _a.LockAsync(_file, 1, LockType.Read, flock: true);
        await _b.LockAsync(_file, 1, LockType.Read, flock: true);
        var upgrade = _b.LockAsync(_file, 2, LockType.Write, wait: true, flock: true, slot: 6);
        await UntilAsync(() => Metric("ephemeralfs_metadata_lock_waiters") == 1, "the upgrade waits");
        Assert.Equal(Errno.EAGAIN.ToStatus(), (await _a.LockAsync(_file, 1, LockType.Write, flock: true)).Status);
        var before = Host.Dump(1);
        Restart();
        Assert.Equal(before, Host.Dump(1));
        Assert.Equal(1, Metric("ephemeralfs_metadata_locks"));
        await _b.LockAsync(_file, 1, LockType.Unlock, flock: true);
        Assert.Equal(Status.OK, (await upgrade.WaitAsync(Patience)).Status);
    }
}
