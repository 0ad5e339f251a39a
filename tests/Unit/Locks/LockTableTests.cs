using EphemeralFs.Metadata.Locks;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.Tests.Unit.Locks;

public sealed class LockTableTests
{
    private static readonly LockOwner A = new(1, 10);
    private static readonly LockOwner B = new(1, 11);
    private static readonly LockOwner C = new(2, 10);

    private readonly LockTable _table = new();
    private readonly List<LockTicket> _granted = [];

    [Fact]
    public void ReadersShareAndAWriterExcludes()
    {
        Assert.Equal(LockOutcome.Granted, Set(A, LockType.Read, 0, 9));
        Assert.Equal(LockOutcome.Granted, Set(B, LockType.Read, 5, 15));
        Assert.Equal(LockOutcome.Conflict, Set(C, LockType.Write, 9, 9));
        Assert.Equal(LockOutcome.Granted, Set(C, LockType.Write, 16, 20));
        Assert.Equal(LockOutcome.Conflict, Set(A, LockType.Read, 0, 16));
        Assert.Equal(3, _table.HeldCount);
    }

    [Fact]
    public void UnlockInTheMiddleSplitsAndRelockingJoins()
    {
        Set(A, LockType.Write, 0, 99);
        Set(A, LockType.Unlock, 40, 59);
        Assert.Equal([(0UL, 39UL, LockType.Write), (60UL, 99UL, LockType.Write)], HeldBy(A));
        Set(A, LockType.Write, 40, 59);
        Assert.Equal([(0UL, 99UL, LockType.Write)], HeldBy(A));
    }

    [Fact]
    public void ConvertingAPartSplitsIntoThree()
    {
        Set(A, LockType.Write, 0, 99);
        Set(A, LockType.Read, 10, 19);
        Assert.Equal([(0UL, 9UL, LockType.Write), (10UL, 19UL, LockType.Read), (20UL, 99UL, LockType.Write)], HeldBy(A));
        Assert.Equal(LockOutcome.Granted, Set(B, LockType.Read, 10, 19));
        Assert.Equal(LockOutcome.Conflict, Set(A, LockType.Write, 0, 99));
        Assert.Equal([(0UL, 9UL, LockType.Write), (10UL, 19UL, LockType.Read), (20UL, 99UL, LockType.Write)], HeldBy(A));
    }

    [Fact]
    public void RangesReachTheEndOfFileAndNotBeyond()
    {
        Assert.Equal(LockOutcome.Granted, Set(A, LockType.Write, 100, LockTable.EndOfFile));
        Assert.Equal(LockOutcome.Conflict, Set(B, LockType.Read, LockTable.EndOfFile, LockTable.EndOfFile));
        Set(A, LockType.Unlock, 200, LockTable.EndOfFile);
        Assert.Equal([(100UL, 199UL, LockType.Write)], HeldBy(A));
        Assert.Equal(LockOutcome.Invalid, Set(A, LockType.Write, 0, LockTable.EndOfFile + 1));
        Assert.Equal(LockOutcome.Invalid, Set(A, LockType.Write, 5, 4));
        Assert.Equal(LockOutcome.Invalid, Set(A, (LockType)3, 0, 1));
    }

    [Fact]
    public void GetTellsTheFirstConflictAndItsPid()
    {
        _table.Set(1, B, false, new LockRange(LockType.Write, 50, 59, 222), false, out _, _granted);
        _table.Set(1, C, false, new LockRange(LockType.Write, 20, 29, 333), false, out _, _granted);
        Assert.True(_table.TryGetConflict(1, A, new LockRange(LockType.Read, 0, 100, 1), out var holder, out var conflict));
        Assert.Equal(C, holder);
        Assert.Equal(new LockRange(LockType.Write, 20, 29, 333), conflict);
        Assert.False(_table.TryGetConflict(1, C, new LockRange(LockType.Write, 0, 49, 1), out _, out conflict));
        Assert.Equal(LockType.Unlock, conflict.Type);
        Assert.False(_table.TryGetConflict(2, A, new LockRange(LockType.Write, 0, 100, 1), out _, out _));
    }

    [Fact]
    public void FlockAndPosixDoNotSeeEachOther()
    {
        Assert.Equal(LockOutcome.Granted, Set(A, LockType.Write, 0, LockTable.EndOfFile));
        Assert.Equal(LockOutcome.Granted, Flock(B, LockType.Write));
        Assert.Equal(LockOutcome.Conflict, Flock(A, LockType.Read));
        Assert.False(_table.TryGetConflict(1, A, new LockRange(LockType.Write, 0, 1, 0), out _, out _));
        Assert.Equal(LockOutcome.Granted, Flock(B, LockType.Unlock));
        Assert.Equal(LockOutcome.Granted, Flock(A, LockType.Read));
    }

    [Fact]
    public void WaitersAreGrantedInOrderWhenTheyFit()
    {
        Set(A, LockType.Write, 0, 99);
        Wait(B, LockType.Write, 0, 9, out var first);
        Wait(C, LockType.Read, 5, 14, out var second);
        Wait(new LockOwner(3, 1), LockType.Read, 50, 59, out var third);
        Set(A, LockType.Unlock, 0, 49);
        Assert.Equal([first], _granted);
        Set(B, LockType.Unlock, 0, 9);
        Assert.Equal([first, second], _granted);
        Set(A, LockType.Read, 50, 99);
        Assert.Equal([first, second, third], _granted);
        Assert.Equal(0, _table.WaiterCount);
    }

    [Fact]
    public void AWaitingWriterDoesNotStopReaders()
    {
        Set(A, LockType.Read, 0, 9);
        Wait(B, LockType.Write, 0, 9, out _);
        Assert.Equal(LockOutcome.Granted, Set(C, LockType.Read, 0, 9));
        Set(A, LockType.Unlock, 0, 9);
        Assert.Empty(_granted);
        Set(C, LockType.Unlock, 0, 9);
        Assert.Single(_granted);
    }

    [Fact]
    public void AGrantThatReleasesGrantsFurther()
    {
        // B holds [0,9] for writing and waits for [0,19] for reading: when granted, [0,9] becomes shared and C fits.
        Set(B, LockType.Write, 0, 9);
        Set(A, LockType.Write, 10, 19);
        Wait(C, LockType.Read, 0, 5, out var c);
        Wait(B, LockType.Read, 0, 19, out var b);
        Set(A, LockType.Unlock, 10, 19);
        Assert.Equal([b, c], _granted);
    }

    [Fact]
    public void CycleOfTwoIsRefused()
    {
        Set(A, LockType.Write, 0, 0);
        Set(B, LockType.Write, 1, 1);
        Assert.Equal(LockOutcome.Queued, Wait(A, LockType.Write, 1, 1, out _));
        Assert.Equal(LockOutcome.Deadlock, Wait(B, LockType.Read, 0, 0, out _));
        Assert.Equal(1, _table.WaiterCount);
        Assert.Equal(LockOutcome.Conflict, Set(B, LockType.Read, 0, 0));
    }

    [Fact]
    public void TwoUpgradingReadersAreACycle()
    {
        Set(A, LockType.Read, 0, 9);
        Set(B, LockType.Read, 0, 9);
        Assert.Equal(LockOutcome.Queued, Wait(A, LockType.Write, 0, 9, out var a));
        Assert.Equal(LockOutcome.Deadlock, Wait(B, LockType.Write, 0, 9, out _));
        Set(B, LockType.Unlock, 0, 9);
        Assert.Equal([a], _granted);
    }

    [Fact]
    public void CycleOfThreeAcrossInodesAndSessionsIsRefused()
    {
        Set(A, LockType.Write, 0, 9, ino: 1);
        Set(B, LockType.Write, 0, 9, ino: 2);
        Set(C, LockType.Write, 0, 9, ino: 3);
        Assert.Equal(LockOutcome.Queued, Wait(A, LockType.Write, 0, 0, out _, ino: 2));
        Assert.Equal(LockOutcome.Queued, Wait(B, LockType.Write, 0, 0, out var b, ino: 3));
        Assert.Equal(LockOutcome.Deadlock, Wait(C, LockType.Write, 0, 0, out _, ino: 1));
        Assert.True(_table.Cancel(b));
        Assert.Equal(LockOutcome.Queued, Wait(C, LockType.Write, 0, 0, out _, ino: 1));
    }

    [Fact]
    public void ACycleThroughTheSecondOfTwoHoldersIsSeen()
    {
        Set(A, LockType.Read, 0, 9);
        Set(B, LockType.Read, 0, 9);
        Set(C, LockType.Write, 100, 109);
        Wait(B, LockType.Write, 100, 100, out _);
        Assert.Equal(LockOutcome.Deadlock, Wait(C, LockType.Write, 0, 9, out _));
    }

    [Fact]
    public void FlockConversionDropsTheOldLockSoThatTwoUpgradersFinish()
    {
        Flock(A, LockType.Read);
        Flock(B, LockType.Read);
        Assert.Equal(LockOutcome.Queued, FlockWait(A, LockType.Write, out var a));
        // Waiting cost A its shared lock, so nothing stands in B's way.
        Assert.Equal(LockOutcome.Granted, FlockWait(B, LockType.Write, out _));
        Assert.Empty(_granted);
        Flock(B, LockType.Unlock);
        Assert.Equal([a], _granted);
    }

    [Fact]
    public void AFailedFlockConversionLosesTheOldLockAndGrantsWaiters()
    {
        Flock(A, LockType.Read);
        Flock(B, LockType.Read);
        Flock(C, LockType.Read);
        Assert.Equal(LockOutcome.Conflict, Flock(A, LockType.Write));
        Assert.DoesNotContain(_table.Held(), h => h.Owner == A);
        FlockWait(A, LockType.Write, out _);
        Assert.Equal(LockOutcome.Conflict, Flock(B, LockType.Write));
        Assert.Empty(_granted);
        Flock(C, LockType.Unlock);
        Assert.Equal([A], _granted.Select(t => t.Owner));
    }

    [Fact]
    public void CancelledWaitersAreNotGranted()
    {
        Set(A, LockType.Write, 0, 9);
        Wait(B, LockType.Write, 0, 9, out var b);
        Assert.True(_table.Cancel(b));
        Assert.False(_table.Cancel(b));
        Set(A, LockType.Unlock, 0, 9);
        Assert.Empty(_granted);
        Assert.Equal(0, _table.HeldCount);
        Assert.False(_table.Cancel(LockTicket.None));
    }

    [Fact]
    public void ReleasingASessionDropsItsLocksAndWaitsAndGrantsOthers()
    {
        Set(A, LockType.Write, 0, 9, ino: 1);
        Set(A, LockType.Write, 0, 9, ino: 2);
        Flock(B, LockType.Write, ino: 3);
        Set(C, LockType.Write, 50, 59, ino: 1);
        Wait(C, LockType.Write, 0, 9, out var two, ino: 2);
        Wait(C, LockType.Write, 0, 9, out var one, ino: 1);
        Wait(B, LockType.Write, 50, 59, out var own, ino: 1);
        var dropped = new List<LockTicket>();
        _table.ReleaseSession(1, _granted, dropped);
        Assert.Equal([two, one], _granted);
        Assert.Equal([own], dropped);
        Assert.All(_table.Held(), h => Assert.Equal(2UL, h.Owner.Session));
        Assert.Equal(0, _table.WaiterCount);
        _table.ReleaseSession(2, _granted, dropped);
        Assert.Equal(0, _table.HeldCount);
        Assert.Empty(_table.Held());
    }

    [Fact]
    public void ReleasingAnInodeDropsHoldersAndWaiters()
    {
        Set(A, LockType.Write, 0, 9);
        Wait(B, LockType.Write, 0, 9, out var b);
        Set(A, LockType.Write, 0, 9, ino: 2);
        var dropped = new List<LockTicket>();
        _table.ReleaseInode(1, dropped);
        Assert.Equal([b], dropped);
        Assert.Equal([2UL], _table.Held().Select(h => h.Ino));
        // The wait is gone from the graph too: no cycle through it.
        Set(B, LockType.Write, 0, 9, ino: 3);
        Assert.Equal(LockOutcome.Queued, Wait(A, LockType.Write, 0, 9, out _, ino: 3));
        Assert.Equal(LockOutcome.Deadlock, Wait(B, LockType.Write, 0, 9, out _, ino: 2));
    }

    [Fact]
    public void SeveralWaitsOfOneOwnerAreTolerated()
    {
        Set(A, LockType.Write, 0, 9);
        Set(C, LockType.Write, 20, 29);
        Wait(B, LockType.Write, 0, 9, out var x);
        Wait(B, LockType.Write, 20, 29, out var y);
        Wait(B, LockType.Write, 0, 9, out var z);
        Set(C, LockType.Unlock, 20, 29);
        Assert.Equal([y], _granted);
        Set(A, LockType.Unlock, 0, 9);
        Assert.Equal([y, x, z], _granted);
    }

    [Fact]
    public void ASessionThatHasNoHandleOnAnInodeHasNoLockOnItEither()
    {
        Set(A, LockType.Write, 0, 9);
        Set(B, LockType.Write, 20, 29);
        Assert.Equal(LockOutcome.Queued, _table.Set(1, C, false, new LockRange(LockType.Write, 0, 5, 0), wait: true, out var waiting, _granted));
        _table.ReleaseSession(A.Session, 1, _granted);
        Assert.Equal([waiting], _granted);
        Assert.Equal([(0UL, 5UL, LockType.Write)], HeldBy(C));
        Assert.Equal(1, _table.HeldCount);
    }

    [Fact]
    public void ASnapshotRestoresToAnEqualTable()
    {
        Set(B, LockType.Read, 0, 9, ino: 7);
        Set(A, LockType.Read, 0, 9, ino: 7);
        Set(A, LockType.Write, 20, 29, ino: 7);
        Flock(C, LockType.Write, ino: 5);
        var snapshot = _table.Held().ToArray();
        var other = new LockTable();
        foreach (var held in snapshot.Reverse())
        {
            Assert.True(other.TryRestore(held));
        }

        Assert.Equal(snapshot, other.Held());
        Assert.Equal(_table.HeldCount, other.HeldCount);
        Assert.False(other.TryRestore(new HeldLock(5, A, true, new LockRange(LockType.Read, 0, 0, 0))));
        Assert.False(other.TryRestore(new HeldLock(5, A, false, new LockRange(LockType.Unlock, 0, 0, 0))));
    }

    private LockOutcome Set(LockOwner owner, LockType type, ulong start, ulong end, ulong ino = 1) =>
        _table.Set(ino, owner, false, new LockRange(type, start, end, (uint)owner.Owner), false, out _, _granted);

    private LockOutcome Wait(LockOwner owner, LockType type, ulong start, ulong end, out LockTicket ticket, ulong ino = 1) =>
        _table.Set(ino, owner, false, new LockRange(type, start, end, (uint)owner.Owner), true, out ticket, _granted);

    private LockOutcome Flock(LockOwner owner, LockType type, ulong ino = 1) =>
        _table.Set(ino, owner, true, new LockRange(type, 0, 0, 0), false, out _, _granted);

    private LockOutcome FlockWait(LockOwner owner, LockType type, out LockTicket ticket) =>
        _table.Set(1, owner, true, new LockRange(type, 0, 0, 0), true, out ticket, _granted);

    private (ulong Start, ulong End, LockType Type)[] HeldBy(LockOwner owner) =>
        [.. _table.Held().Where(h => h.Owner == owner && !h.Flock).Select(h => (h.Range.Start, h.Range.End, h.Range.Type))];
}
