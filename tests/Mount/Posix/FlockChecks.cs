using System.Diagnostics;
using EphemeralFs.Core;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>Whole-file locks, <c>flock(2)</c>.</summary>
public abstract class FlockChecks(ITestTarget target) : PosixChecks(target)
{
    private int OpenLockFile() => Expect.Fd(Native.Open(P("lock"), Native.O_RDWR | Native.O_CREAT, O(644)));

    [Fact]
    public void SharedLocksGoTogetherAndAnExclusiveOneIsAlone()
    {
        int one = Open(P("lock"), Native.O_RDWR | Native.O_CREAT), two = Open(P("lock"), Native.O_RDONLY), three = Open(P("lock"), Native.O_RDWR);
        Ok(Native.Flock(one, Native.LOCK_SH | Native.LOCK_NB));
        Ok(Native.Flock(two, Native.LOCK_SH | Native.LOCK_NB));
        Fails(Errno.EAGAIN, Native.Flock(three, Native.LOCK_EX | Native.LOCK_NB));
        Ok(Native.Flock(one, Native.LOCK_UN));
        Ok(Native.Flock(two, Native.LOCK_EX | Native.LOCK_NB)); // upgrade; a read-only descriptor may
        Fails(Errno.EAGAIN, Native.Flock(three, Native.LOCK_SH | Native.LOCK_NB));
        Ok(Native.Flock(two, Native.LOCK_SH | Native.LOCK_NB)); // downgrade
        Ok(Native.Flock(three, Native.LOCK_SH | Native.LOCK_NB));
    }

    [Fact]
    public void ALockGoesWithTheLastDuplicate()
    {
        int one = Open(P("lock"), Native.O_RDWR | Native.O_CREAT), two = Open(P("lock"), Native.O_RDWR);
        int twin = Expect.Fd(Native.Dup(one));
        Ok(Native.Flock(one, Native.LOCK_EX | Native.LOCK_NB));
        Ok(Native.Flock(twin, Native.LOCK_EX | Native.LOCK_NB)); // its own
        Close(one);
        Fails(Errno.EAGAIN, Native.Flock(two, Native.LOCK_SH | Native.LOCK_NB));
        Ok(Native.Close(twin));

        // Not with LOCK_NB: the kernel says of a last close to the daemon without waiting for it (docs/semantics.md, S64).
        Ok(Native.Flock(two, Native.LOCK_EX));
    }

    [Fact]
    public void UnlockingThroughADuplicateUnlocks()
    {
        int one = Open(P("lock"), Native.O_RDWR | Native.O_CREAT), two = Open(P("lock"), Native.O_RDWR);
        int twin = Expect.Fd(Native.Dup(one));
        Ok(Native.Flock(one, Native.LOCK_EX));
        Ok(Native.Flock(twin, Native.LOCK_UN));
        Ok(Native.Flock(two, Native.LOCK_EX | Native.LOCK_NB));
        Ok(Native.Close(twin));
    }

    [Fact]
    public void FlockAndRecordLocksDoNotKnowEachOther()
    {
        using Actor one = new();
        int mine = Open(P("lock"), Native.O_RDWR | Native.O_CREAT);
        int a = (int)one.Do(() => OpenLockFile());
        Ok(Native.Flock(mine, Native.LOCK_EX));
        Ok(one.Do(() => Native.Lock(a, Native.F_SETLK, FileLock.Write(0, 0))));
    }

    [Fact]
    public void ImpossibleOperationsAreEINVAL()
    {
        int fd = Open(P("lock"), Native.O_RDWR | Native.O_CREAT);
        Fails(Errno.EINVAL, Native.Flock(fd, 0));
        Fails(Errno.EINVAL, Native.Flock(fd, Native.LOCK_NB));
    }

    [Fact]
    public void DirectoriesCanBeLocked()
    {
        MakeDirectory("d");
        int one = Open(P("d"), Native.O_RDONLY), two = Open(P("d"), Native.O_RDONLY);
        Ok(Native.Flock(one, Native.LOCK_EX));
        Fails(Errno.EAGAIN, Native.Flock(two, Native.LOCK_SH | Native.LOCK_NB));
    }

    [Fact]
    public void AWaiterGetsTheLock()
    {
        using Actor two = new();
        int one = Open(P("lock"), Native.O_RDWR | Native.O_CREAT);
        int b = (int)two.Do(() => OpenLockFile());
        Ok(Native.Flock(one, Native.LOCK_EX));
        Task<long> waiting = two.Begin(() => Native.Flock(b, Native.LOCK_SH));
        two.UntilBlockedInLock(waiting);
        Close(one);
        Ok(Actor.Await(waiting));
    }

    [Theory]
    [InlineData("INT")]
    [InlineData("KILL")]
    public void ABlockedProgramDiesOfASignal(string signal)
    {
        int fd = Open(P("lock"), Native.O_RDWR | Native.O_CREAT);
        Ok(Native.Flock(fd, Native.LOCK_EX));
        using Process blocked = Process.Start(new ProcessStartInfo("flock", [P("lock"), "true"]))!;
        UntilBlocked(blocked);
        using (Process kill = Process.Start("kill", ["-" + signal, $"{blocked.Id}"]))
        {
            kill.WaitForExit();
        }
        Assert.True(blocked.WaitForExit(30_000), "the program is still blocked 30 s after the signal");
        Assert.NotEqual(0, blocked.ExitCode);
        // It left nothing behind: the lock is ours until we release it, and then free for anybody.
        Ok(Native.Flock(fd, Native.LOCK_UN));
        Ok(Native.Flock(Open(P("lock"), Native.O_RDWR), Native.LOCK_EX | Native.LOCK_NB));
    }

    [Fact]
    public void AProcessThatIsKilledLosesItsLock()
    {
        int fd = Open(P("lock"), Native.O_RDWR | Native.O_CREAT);
        using Process holder = Process.Start(new ProcessStartInfo("flock", ["-o", P("lock"), "cat"]) { RedirectStandardInput = true })!;
        long start = Environment.TickCount64;
        while (Native.ErrnoOf(Native.Flock(fd, Native.LOCK_EX | Native.LOCK_NB)) != Errno.EAGAIN)
        {
            Ok(Native.Flock(fd, Native.LOCK_UN));
            Assert.True(Environment.TickCount64 - start < 30_000, "the other process never took the lock");
            Thread.Yield();
        }
        holder.Kill();
        holder.WaitForExit();
        holder.StandardInput.Close();
        using Actor waiter = new();
        Ok(waiter.Do(() => Native.Flock(OpenLockFile(), Native.LOCK_EX)));
    }

    // The kernel announces to nobody that a process fell asleep in flock(2): poll.
    private static void UntilBlocked(Process process)
    {
        string call = System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture == System.Runtime.InteropServices.Architecture.Arm64 ? "32 " : "73 ";
        long start = Environment.TickCount64;
        while (!File.ReadAllText($"/proc/{process.Id}/syscall").StartsWith(call, StringComparison.Ordinal))
        {
            Assert.True(Environment.TickCount64 - start < 30_000, "the program never blocked");
            Thread.Yield();
        }
    }
}
