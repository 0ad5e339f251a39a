using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>Record locks, <c>fcntl(2)</c>: those of a process and those of an open file description (OFD).</summary>
public abstract class LockChecks(ITestTarget target) : PosixChecks(target)
{
    private const int Set = Native.F_SETLK, Wait = Native.F_SETLKW, OfdSet = Native.F_OFD_SETLK, OfdWait = Native.F_OFD_SETLKW;

    private int OpenLockFile() => Expect.Fd(Native.Open(P("lock"), Native.O_RDWR | Native.O_CREAT, O(644)));

    /// <summary>Whether this owner could get a write lock on the byte now.</summary>
    private static bool Free(int fd, long at, short type = Native.F_WRLCK)
    {
        var probe = new FileLock(type, 0, at, 1);
        Ok(Native.TestLock(fd, Native.F_GETLK, ref probe));
        return probe.Type == Native.F_UNLCK;
    }

    /// <summary>The bytes of the first 100 that the owner finds locked, as ranges such as <c>0-9,50-99</c>.</summary>
    private static string Locked(Actor seenBy, int fd)
    {
        string result = "";
        seenBy.Do(() =>
        {
            int start = -1;
            for (int at = 0; at <= 100; at++)
            {
                bool taken = at < 100 && !Free(fd, at);
                if (taken && start < 0)
                {
                    start = at;
                }
                else if (!taken && start >= 0)
                {
                    result += $"{(result.Length == 0 ? "" : ",")}{start}-{at - 1}";
                    start = -1;
                }
            }
            return 0;
        });
        return result;
    }

    [Fact]
    public void WritersExcludeEverybodyAndReadersExcludeWriters()
    {
        using Actor one = new(), two = new();
        int a = (int)one.Do(() => OpenLockFile()), b = (int)two.Do(() => OpenLockFile());
        Ok(one.Do(() => Native.Lock(a, Set, FileLock.Write(0, 10))));
        Fails(Errno.EAGAIN, two.Do(() => Native.Lock(b, Set, FileLock.Write(5, 1))));
        Fails(Errno.EAGAIN, two.Do(() => Native.Lock(b, Set, FileLock.Read(9, 5))));
        Ok(two.Do(() => Native.Lock(b, Set, FileLock.Write(10, 10))));
        Ok(one.Do(() => Native.Lock(a, Set, FileLock.Read(0, 10)))); // downgrade
        Ok(two.Do(() => Native.Lock(b, Set, FileLock.Read(0, 10))));
        Fails(Errno.EAGAIN, one.Do(() => Native.Lock(a, Set, FileLock.Write(0, 1)))); // no upgrade beside another reader
        Ok(two.Do(() => Native.Lock(b, Set, FileLock.Unlock(0, 10))));
        Ok(one.Do(() => Native.Lock(a, Set, FileLock.Write(0, 1))));
    }

    [Fact]
    public void OneOwnerNeverConflictsWithItself()
    {
        using Actor one = new();
        int a = (int)one.Do(() => OpenLockFile()), b = (int)one.Do(() => OpenLockFile());
        Ok(one.Do(() => Native.Lock(a, Set, FileLock.Write(0, 10))));
        Ok(one.Do(() => Native.Lock(b, Set, FileLock.Write(0, 10))));
        Ok(one.Do(() => Native.Lock(b, Set, FileLock.Read(3, 3))));
    }

    [Fact]
    public void RangesSplitAndMerge()
    {
        using Actor one = new(), two = new();
        int a = (int)one.Do(() => OpenLockFile()), b = (int)two.Do(() => OpenLockFile());
        void Do(FileLock change) => Ok(one.Do(() => Native.Lock(a, Set, change)));

        Do(FileLock.Write(0, 100));
        Do(FileLock.Unlock(40, 20));
        Assert.Equal("0-39,60-99", Locked(two, b));
        Do(FileLock.Write(30, 10)); // within: nothing changes
        Assert.Equal("0-39,60-99", Locked(two, b));
        Do(FileLock.Write(40, 20)); // fills the gap
        Assert.Equal("0-99", Locked(two, b));
        Do(FileLock.Unlock(0, 1));
        Do(FileLock.Unlock(99, 1));
        Assert.Equal("1-98", Locked(two, b));
        Do(FileLock.Unlock(10, 10));
        Do(FileLock.Unlock(30, 10));
        Do(FileLock.Unlock(50, 10));
        Assert.Equal("1-9,20-29,40-49,60-98", Locked(two, b));
        Do(FileLock.Unlock(5, 50));
        Assert.Equal("1-4,60-98", Locked(two, b));
        Do(FileLock.Unlock(0, 0)); // to the end
        Assert.Equal("", Locked(two, b));
    }

    [Fact]
    public void AReadLockInTheMiddleOfAWriteLockSplitsIt()
    {
        using Actor one = new(), two = new();
        int a = (int)one.Do(() => OpenLockFile()), b = (int)two.Do(() => OpenLockFile());
        Ok(one.Do(() => Native.Lock(a, Set, FileLock.Write(0, 100))));
        Ok(one.Do(() => Native.Lock(a, Set, FileLock.Read(40, 20))));
        Ok(two.Do(() => Native.Lock(b, Set, FileLock.Read(40, 20))));
        Fails(Errno.EAGAIN, two.Do(() => Native.Lock(b, Set, FileLock.Read(39, 1))));
        Fails(Errno.EAGAIN, two.Do(() => Native.Lock(b, Set, FileLock.Read(60, 1))));
        Fails(Errno.EAGAIN, two.Do(() => Native.Lock(b, Set, FileLock.Write(50, 1))));
    }

    [Fact]
    public void RangesCountFromTheStartThePositionAndTheEnd()
    {
        using Actor one = new(), two = new();
        MakeFile("lock", Pattern(50));
        int a = (int)one.Do(() => OpenLockFile()), b = (int)two.Do(() => OpenLockFile());
        Ok(one.Do(() => Native.Lseek(a, 20, Native.SEEK_SET)));
        Ok(one.Do(() => Native.Lock(a, Set, new FileLock(Native.F_WRLCK, 1, 5, 5))));
        Assert.Equal("25-29", Locked(two, b));
        Ok(one.Do(() => Native.Lock(a, Set, new FileLock(Native.F_WRLCK, 2, -10, 5))));
        Assert.Equal("25-29,40-44", Locked(two, b));
        Ok(one.Do(() => Native.Lock(a, Set, new FileLock(Native.F_WRLCK, 0, 60, -10)))); // before the start
        Assert.Equal("25-29,40-44,50-59", Locked(two, b));
        Ok(one.Do(() => Native.Lock(a, Set, new FileLock(Native.F_WRLCK, 0, 90, 0)))); // to infinity
        Assert.False(two.Do(() => Free(b, long.MaxValue - 1) ? 1 : 0) == 1);
        Fails(Errno.EINVAL, one.Do(() => Native.Lock(a, Set, FileLock.Write(-1, 1))));
        Fails(Errno.EINVAL, one.Do(() => Native.Lock(a, Set, new FileLock(77, 0, 0, 1))));
        Fails(Errno.EINVAL, one.Do(() => Native.Lock(a, Set, new FileLock(Native.F_WRLCK, 9, 0, 1))));
    }

    [Fact]
    public void TheLockInTheWayIsReported()
    {
        using Actor one = new(), two = new();
        int a = (int)one.Do(() => OpenLockFile()), b = (int)two.Do(() => OpenLockFile());
        Ok(one.Do(() => Native.Lock(a, Set, FileLock.Read(10, 10))));
        two.Do(() =>
        {
            var probe = FileLock.Write(0, 100);
            Ok(Native.TestLock(b, Native.F_GETLK, ref probe));
            Assert.Equal((Native.F_RDLCK, 10L, 10L, Environment.ProcessId), (probe.Type, probe.Start, probe.Length, probe.Process));
            probe = FileLock.Read(0, 100);
            Ok(Native.TestLock(b, Native.F_GETLK, ref probe));
            Assert.Equal(Native.F_UNLCK, probe.Type);
            probe = FileLock.Write(0, 10);
            Ok(Native.TestLock(b, Native.F_GETLK, ref probe));
            Assert.Equal(Native.F_UNLCK, probe.Type);
            return 0;
        });
    }

    [Fact]
    public void TheDescriptorMustAllowWhatTheLockMeans()
    {
        using Actor one = new();
        MakeFile("lock", "x");
        Fails(Errno.EBADF, one.Do(() => Native.Lock(Expect.Fd(Native.Open(P("lock"), Native.O_RDONLY)), Set, FileLock.Write(0, 1))));
        Fails(Errno.EBADF, one.Do(() => Native.Lock(Expect.Fd(Native.Open(P("lock"), Native.O_WRONLY)), Set, FileLock.Read(0, 1))));
    }

    [Fact]
    public void ClosingAnyDescriptorOfTheFileReleasesTheLocksOfItsOwner()
    {
        using Actor one = new(), two = new();
        int a = (int)one.Do(() => OpenLockFile()), b = (int)two.Do(() => OpenLockFile());
        Ok(one.Do(() => Native.Lock(a, Set, FileLock.Write(0, 10))));
        Ok(two.Do(() => Native.Lock(b, Set, FileLock.Write(20, 10))));
        Ok(one.Do(() => Native.Close(OpenLockFile()))); // another descriptor
        Assert.Equal("", Locked(two, b));
        Assert.Equal("20-29", Locked(one, a)); // those of the other owner stay
    }

    [Fact]
    public void LocksGoWhenTheirOwnerEnds()
    {
        using Actor two = new();
        int b = (int)two.Do(() => OpenLockFile());
        using (Actor one = new())
        {
            Ok(one.Do(() => Native.Lock(OpenLockFile(), Set, FileLock.Write(0, 10))));
            Assert.Equal("0-9", Locked(two, b));
        }
        Ok(Actor.Await(two.Begin(() => Native.Lock(b, Wait, FileLock.Write(0, 10)))));
    }

    [Fact]
    public void AForkedChildInheritsTheDescriptorAndNotTheLocks()
    {
        int fd = Open(P("lock"), Native.O_RDWR | Native.O_CREAT);
        Ok(Native.Lock(fd, Set, FileLock.Write(0, 10)));
        using (Actor child = new(inherit: true))
        {
            Fails(Errno.EAGAIN, child.Do(() => Native.Lock(fd, Set, FileLock.Write(0, 1))));
            Ok(child.Do(() => Native.Lock(fd, Set, FileLock.Write(50, 10))));
            Ok(child.Do(() => Native.Close(fd)));
        }
        using Actor other = new();
        int probe = (int)other.Do(() => OpenLockFile());
        Assert.Equal("0-9", Locked(other, probe)); // the child's close took only the child's locks
    }

    // ---- waiting ----

    [Fact]
    public void AWaiterGetsTheLockWhenItIsReleased()
    {
        using Actor one = new(), two = new();
        int a = (int)one.Do(() => OpenLockFile()), b = (int)two.Do(() => OpenLockFile());
        Ok(one.Do(() => Native.Lock(a, Set, FileLock.Write(0, 10))));
        Task<long> waiting = two.Begin(() => Native.Lock(b, Wait, FileLock.Write(5, 10)));
        two.UntilBlockedInLock(waiting);
        Ok(one.Do(() => Native.Lock(a, Set, FileLock.Unlock(0, 5)))); // not yet: the overlap is still held
        two.UntilBlockedInLock(waiting);
        Ok(one.Do(() => Native.Lock(a, Set, FileLock.Unlock(5, 5))));
        Ok(Actor.Await(waiting));
        Assert.Equal("5-14", Locked(one, a));
    }

    [Fact]
    public void AWaiterGetsTheLockWhenItsHolderClosesOrEnds()
    {
        using Actor two = new();
        int b = (int)two.Do(() => OpenLockFile());
        foreach (bool end in new[] { false, true })
        {
            using Actor one = new();
            int a = (int)one.Do(() => OpenLockFile());
            Ok(one.Do(() => Native.Lock(a, Set, FileLock.Write(0, 10))));
            Task<long> waiting = two.Begin(() => Native.Lock(b, Wait, FileLock.Write(0, 10)));
            two.UntilBlockedInLock(waiting);
            if (end)
            {
                one.Dispose();
            }
            else
            {
                Ok(one.Do(() => Native.Close(a)));
            }
            Ok(Actor.Await(waiting));
            Ok(two.Do(() => Native.Lock(b, Set, FileLock.Unlock(0, 0))));
        }
    }

    [Fact]
    public void ManyWaitersAllGetTheirTurn()
    {
        MakeFile("lock", "");
        Actor[] actors = [.. Enumerable.Range(0, 6).Select(_ => new Actor())];
        int inside = 0;
        bool overlap = false;
        Task<long>[] runs = [.. actors.Select(actor => actor.Begin(() =>
        {
            int fd = OpenLockFile();
            for (int i = 0; i < 50; i++)
            {
                Ok(Native.Lock(fd, Wait, FileLock.Write(0, 1)));
                overlap |= Interlocked.Increment(ref inside) != 1;
                Interlocked.Decrement(ref inside);
                Ok(Native.Lock(fd, Set, FileLock.Unlock(0, 1)));
            }
            return 0;
        }))];
        foreach (Task<long> run in runs)
        {
            Actor.Await(run);
        }
        Array.ForEach(actors, actor => actor.Dispose());
        Assert.False(overlap, "two owners held the lock at once");
    }

    [Fact]
    public void ReadersWaitTogetherForAWriter()
    {
        using Actor writer = new(), one = new(), two = new();
        int w = (int)writer.Do(() => OpenLockFile()), a = (int)one.Do(() => OpenLockFile()), b = (int)two.Do(() => OpenLockFile());
        Ok(writer.Do(() => Native.Lock(w, Set, FileLock.Write(0, 10))));
        Task<long> first = one.Begin(() => Native.Lock(a, Wait, FileLock.Read(0, 10)));
        Task<long> second = two.Begin(() => Native.Lock(b, Wait, FileLock.Read(0, 10)));
        one.UntilBlockedInLock(first);
        two.UntilBlockedInLock(second);
        Ok(writer.Do(() => Native.Lock(w, Set, FileLock.Unlock(0, 10))));
        Ok(Actor.Await(first));
        Ok(Actor.Await(second));
    }

    [Fact]
    public void TwoOwnersThatWaitForEachOtherAreEDEADLK()
    {
        using Actor one = new(), two = new();
        int a = (int)one.Do(() => OpenLockFile()), b = (int)two.Do(() => OpenLockFile());
        Ok(one.Do(() => Native.Lock(a, Set, FileLock.Write(0, 1))));
        Ok(two.Do(() => Native.Lock(b, Set, FileLock.Write(1, 1))));
        Task<long> waiting = one.Begin(() => Native.Lock(a, Wait, FileLock.Write(1, 1)));
        one.UntilBlockedInLock(waiting);
        Fails(Errno.EDEADLK, two.Do(() => Native.Lock(b, Wait, FileLock.Write(0, 1))));
        Ok(two.Do(() => Native.Lock(b, Set, FileLock.Unlock(1, 1))));
        Ok(Actor.Await(waiting));
    }

    [Fact]
    public void ARingOfThreeAcrossTwoFilesIsEDEADLK()
    {
        using Actor one = new(), two = new(), three = new();
        MakeFile("other", "");
        int OpenOther() => Expect.Fd(Native.Open(P("other"), Native.O_RDWR));
        int a = (int)one.Do(() => OpenLockFile()), b = (int)two.Do(() => OpenLockFile()), c = (int)three.Do(() => OpenLockFile());
        int bOther = (int)two.Do(() => OpenOther()), cOther = (int)three.Do(() => OpenOther());
        Ok(one.Do(() => Native.Lock(a, Set, FileLock.Write(0, 1))));
        Ok(two.Do(() => Native.Lock(b, Set, FileLock.Write(1, 1))));
        Ok(three.Do(() => Native.Lock(cOther, Set, FileLock.Write(0, 1))));
        Task<long> first = one.Begin(() => Native.Lock(a, Wait, FileLock.Write(1, 1)));
        one.UntilBlockedInLock(first);
        Task<long> second = two.Begin(() => Native.Lock(bOther, Wait, FileLock.Write(0, 1)));
        two.UntilBlockedInLock(second);
        Fails(Errno.EDEADLK, three.Do(() => Native.Lock(c, Wait, FileLock.Write(0, 1))));
        Ok(three.Do(() => Native.Lock(cOther, Set, FileLock.Unlock(0, 1))));
        Ok(Actor.Await(second));
        Ok(two.Do(() => Native.Lock(b, Set, FileLock.Unlock(1, 1))));
        Ok(Actor.Await(first));
    }

    // ---- OFD locks ----

    [Fact]
    public void OfdLocksBelongToTheOpenFileDescription()
    {
        int one = Open(P("lock"), Native.O_RDWR | Native.O_CREAT);
        int two = Open(P("lock"), Native.O_RDWR);
        int twin = Expect.Fd(Native.Dup(one));
        Ok(Native.Lock(one, OfdSet, FileLock.Write(0, 10)));
        Ok(Native.Lock(twin, OfdSet, FileLock.Write(5, 10))); // the same description
        Fails(Errno.EAGAIN, Native.Lock(two, OfdSet, FileLock.Write(0, 1))); // another, in the same process
        Ok(Native.Close(OpenLockFile())); // an unrelated descriptor takes nothing away
        Fails(Errno.EAGAIN, Native.Lock(two, OfdSet, FileLock.Write(0, 1)));
        var probe = FileLock.Write(0, 100);
        Ok(Native.TestLock(two, Native.F_OFD_GETLK, ref probe));
        Assert.Equal((Native.F_WRLCK, 0L, 15L, -1), (probe.Type, probe.Start, probe.Length, probe.Process));
        Close(one);
        Fails(Errno.EAGAIN, Native.Lock(two, OfdSet, FileLock.Write(0, 1))); // the duplicate still holds it
        Ok(Native.Close(twin));
        // Who waits gets it; on FUSE the kernel tells of the last close a moment after it.
        Ok(Native.Lock(two, OfdWait, FileLock.Write(0, 1)));
    }

    [Fact]
    public void OfdLocksAndProcessLocksConflict()
    {
        using Actor one = new();
        int a = (int)one.Do(() => OpenLockFile());
        int ofd = Open(P("lock"), Native.O_RDWR);
        Ok(one.Do(() => Native.Lock(a, Set, FileLock.Write(0, 10))));
        Fails(Errno.EAGAIN, Native.Lock(ofd, OfdSet, FileLock.Read(0, 1)));
        Ok(Native.Lock(ofd, OfdSet, FileLock.Read(10, 1)));
        Fails(Errno.EAGAIN, one.Do(() => Native.Lock(a, Set, FileLock.Write(10, 1))));
    }

    [Fact]
    public void OfdLocksAreWaitedFor()
    {
        using Actor one = new(), two = new();
        int a = (int)one.Do(() => OpenLockFile()), b = (int)two.Do(() => OpenLockFile());
        Ok(one.Do(() => Native.Lock(a, OfdSet, FileLock.Write(0, 10))));
        Task<long> waiting = two.Begin(() => Native.Lock(b, OfdWait, FileLock.Read(0, 1)));
        two.UntilBlockedInLock(waiting);
        Ok(one.Do(() => Native.Close(a)));
        Ok(Actor.Await(waiting));
    }
}
