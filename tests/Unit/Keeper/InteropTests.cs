using System.Runtime.InteropServices;
using System.Text;
using EphemeralFs.Core;
using EphemeralFs.Interop;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.Tests.Unit.Keeper;

public sealed class InteropTests : IDisposable
{
    private const int CloseOnExec = 0x80000;

    private readonly string _directory = Directory.CreateTempSubdirectory("keeper-unit-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Several_descriptors_travel_with_one_message_and_close_on_exec()
    {
        using var memory = Memory("several", 4096);
        memory.Slice(100, 5)[0] = 42;
        Assert.Equal(Errno.OK, UnixSocket.Pair(out var first, out var second));
        using (first)
        using (second)
        {
            var fd = (int)memory.Handle.DangerousGetHandle();
            Assert.Equal(Errno.OK, FdPassing.Send(first!.Fd, "hello"u8, [fd, fd, fd]));
            var fds = new int[FdPassing.MaxFds];
            var buffer = new byte[16];
            Assert.Equal(Errno.OK, FdPassing.Receive(second!.Fd, buffer, fds, out var length, out var count));
            Assert.Equal("hello", Encoding.UTF8.GetString(buffer, 0, length));
            Assert.Equal(3, count);
            Assert.Equal(3, fds.Take(3).Append(fd).Distinct().Count() - 1);
            Assert.All(fds.Take(3), static received => Assert.NotEqual(0, Flags(received) & CloseOnExec));
            Assert.Equal(Errno.OK, SharedMemory.Map(new SafeFileHandle(fds[2], true), out var other));
            Assert.Equal(42, other!.Slice(100, 1)[0]);
            other.Slice(200, 1)[0] = 7;
            Assert.Equal(7, memory.Slice(200, 1)[0]);
            other.Dispose();
            FdPassing.Close(fds[0]);
            FdPassing.Close(fds[1]);
        }
    }

    [Fact]
    public void A_message_or_descriptors_that_do_not_fit_leave_no_descriptor_behind()
    {
        Assert.Equal(Errno.OK, UnixSocket.Pair(out var first, out var second));
        using (first)
        using (second)
        {
            // A pipe of our own: its reader sees the end exactly when no copy of the writer is left.
            using var pipe = new System.IO.Pipes.AnonymousPipeServerStream(System.IO.Pipes.PipeDirection.In);
            var writer = (int)pipe.ClientSafePipeHandle.DangerousGetHandle();
            Assert.Equal(Errno.OK, FdPassing.Send(first!.Fd, new byte[100], [writer, writer]));
            Assert.Equal(Errno.OK, FdPassing.Send(first.Fd, new byte[10], [writer, writer]));
            Assert.Equal(Errno.OK, FdPassing.Send(first.Fd, new byte[1], []));
            pipe.DisposeLocalCopyOfClientHandle();
            Assert.Equal(Errno.EBADMSG, FdPassing.Receive(second!.Fd, new byte[99], new int[64], out _, out var count));
            Assert.Equal(0, count);
            Assert.Equal(Errno.EBADMSG, FdPassing.Receive(second.Fd, new byte[99], new int[1], out _, out count));
            Assert.Equal(0, count);
            Assert.Equal(-1, pipe.ReadByte());

            // The next message is whole.
            Assert.Equal(Errno.OK, FdPassing.Receive(second.Fd, new byte[99], new int[1], out var length, out _));
            Assert.Equal(1, length);
            Assert.Equal(Errno.EAGAIN, FdPassing.Receive(second.Fd, new byte[99], new int[1], out _, out _));
        }
    }

    [Fact]
    public void Bad_arguments_and_a_closed_peer_are_values()
    {
        Assert.Equal(Errno.OK, UnixSocket.Pair(out var first, out var second));
        Assert.Equal(Errno.EINVAL, FdPassing.Send(first!.Fd, [], []));
        Assert.Equal(Errno.EINVAL, FdPassing.Send(first.Fd, [1], new int[FdPassing.MaxFds + 1]));
        Assert.Equal(Errno.EBADF, FdPassing.Send(first.Fd, [1], [1_000_000]));
        second!.Dispose();
        Assert.Equal(Errno.EPIPE, FdPassing.Send(first.Fd, [1], []));
        Assert.Equal(Errno.OK, FdPassing.Receive(first.Fd, new byte[1], [], out var length, out _));
        Assert.Equal(0, length);
        first.Dispose();
    }

    [Fact]
    public void A_socket_path_of_any_length_works_and_has_its_mode()
    {
        var deep = Path.Combine(_directory, new string('d', 120));
        Directory.CreateDirectory(deep);
        var path = Path.Combine(deep, "keeper.sock");
        Assert.Equal(Errno.ENOENT, UnixSocket.Connect(path, out _));
        Assert.Equal(Errno.OK, UnixSocket.Listen(path, 0x180, 4, out var listener));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, OperatingSystem.IsWindows() ? default : File.GetUnixFileMode(path));
        Assert.Equal((Errno)98, UnixSocket.Listen(path, 0x180, 4, out _));
        Assert.Equal(Errno.EAGAIN, listener!.Accept(out _));
        Assert.Equal(Errno.OK, UnixSocket.Connect(path, out var client));
        Assert.Equal(Errno.OK, listener.Accept(out var served));
        Assert.Equal(Errno.OK, served!.GetPeer(out var peer));
        Assert.Equal(Environment.ProcessId, peer.Pid);
        Assert.Equal(ProcessControl.EffectiveUserId, peer.Uid);
        Assert.Equal(Errno.OK, served.GetPeerPidFd(out var pidFd));
        Assert.False(ProcessControl.HasExited(pidFd!));
        pidFd!.Dispose();
        client!.Dispose();
        served.Dispose();
        listener.Dispose();
        Assert.Equal(Errno.ECONNREFUSED, UnixSocket.Connect(path, out _));
    }

    [Fact]
    public void Shared_memory_keeps_its_bounds()
    {
        using var memory = Memory("bounds", 8192);
        Assert.Equal(8192, memory.Length);
        Assert.Equal(8192, memory.Slice(0, 8192).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => memory.Slice(1, 8192));
        Assert.Throws<ArgumentOutOfRangeException>(() => memory.Slice(-1, 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => memory.Slice(long.MaxValue, 2));
        Assert.Equal(Errno.EPERM, MemFd.Resize(memory.Handle, 4096));
        Assert.Equal(Errno.OK, MemFd.Resize(memory.Handle, 16384));
        memory.Dispose();
        Assert.Throws<ObjectDisposedException>(() => memory.Slice(0, 1));
        Assert.Equal(Errno.EINVAL, SharedMemory.Create("empty", 0, false, out _));
    }

    [Fact]
    public void What_is_no_file_is_not_mapped()
    {
        using var pipe = new System.IO.Pipes.AnonymousPipeServerStream();
        var borrowed = new SafeFileHandle(pipe.SafePipeHandle.DangerousGetHandle(), ownsHandle: false);
        Assert.Equal(Errno.EINVAL, SharedMemory.Map(borrowed, out var memory));
        Assert.Null(memory);
    }

    [Fact]
    public void A_lock_has_one_owner_and_leaves_no_file()
    {
        var path = Path.Combine(_directory, "lock");
        Assert.Equal(Errno.OK, ProcessControlLock.TryTake(path, out var first, out _));
        Assert.Equal(Errno.EAGAIN, ProcessControlLock.TryTake(path, out var second, out var owner));
        Assert.Null(second);
        Assert.Equal(Environment.ProcessId, owner);
        first!.Dispose();
        Assert.False(File.Exists(path));
        Assert.Equal(Errno.OK, ProcessControlLock.TryTake(path, out second, out _));
        second!.Dispose();
        Assert.Equal(Errno.ENOENT, ProcessControlLock.TryTake(Path.Combine(_directory, "no", "lock"), out _, out _));
    }

    [Fact]
    public void A_child_runs_in_a_session_of_its_own_and_is_reaped_with_its_exit_code()
    {
        var output = Path.Combine(_directory, "out");
        Assert.Equal(Errno.OK, ProcessControlSpawn.Start(["sh", "-c", $"cat /proc/self/stat >'{output}'; exit 7"], out var pid));
        Assert.Equal(Errno.OK, ProcessControl.OpenPidFd(pid, out var pidFd));
        Assert.NotEqual(0, UnixSocketPoll.WaitOne((int)pidFd!.DangerousGetHandle(), PollFd.In, 30_000));
        Assert.True(ProcessControl.HasExited(pidFd));
        Assert.True(ProcessControlThreads.IsGone(pid));
        Assert.Equal(Errno.OK, ProcessControl.TryReap(pid, out var exit));
        Assert.Equal(new ProcessExit(7, 0), exit);
        Assert.Equal(ProcessControl.NotAChild, ProcessControl.TryReap(pid, out _));
        Assert.Equal(ProcessControl.NoSuchProcess, ProcessControl.Signal(pidFd, ProcessControl.SigKill));
        pidFd.Dispose();
        var session = File.ReadAllText(output).Split(')')[^1].Trim().Split(' ')[3];
        Assert.Equal(pid.ToString(System.Globalization.CultureInfo.InvariantCulture), session);
    }

    [Fact]
    public void A_killed_child_says_so_and_a_missing_program_is_a_value()
    {
        Assert.Equal(Errno.OK, ProcessControlSpawn.Start(["sleep", "1000"], out var pid));
        Assert.False(ProcessControlThreads.IsGone(pid));
        Assert.Equal(Environment.ProcessId, ProcessControlThreads.Parent(pid));
        Assert.NotEqual(0ul, ProcessControlThreads.StartTime(pid));
        Assert.Equal(Errno.EAGAIN, ProcessControl.TryReap(pid, out _));
        Assert.Equal(Errno.OK, ProcessControl.OpenPidFd(pid, out var pidFd));
        Assert.Equal(Errno.OK, ProcessControl.Signal(pidFd!, ProcessControl.SigKill));
        Assert.NotEqual(0, UnixSocketPoll.WaitOne((int)pidFd!.DangerousGetHandle(), PollFd.In, 30_000));
        Assert.Equal(Errno.OK, ProcessControl.TryReap(pid, out var exit));
        Assert.Equal(new ProcessExit(0, 9), exit);
        pidFd.Dispose();
        Assert.True(ProcessControlThreads.IsGone(pid));
        Assert.Equal(Errno.ENOENT, ProcessControlSpawn.Start(["/no/such/program"], out _));
        Assert.Equal(Errno.EINVAL, ProcessControlSpawn.Start([], out _));
    }

    [Theory]
    [InlineData("Z (zombie)", "0000000000000000", "0000000000000000", true)]
    [InlineData("X (dead)", "0000000000000000", "0000000000000000", true)]
    [InlineData("D (disk sleep)", "0000000000000100", "0000000000000000", true)]
    [InlineData("D (disk sleep)", "0000000000000000", "0000000000000100", true)]
    [InlineData("D (disk sleep)", "0000000000000000", "0000000000004000", false)]
    [InlineData("S (sleeping)", "0000000000000100", "0000000000000000", false)]
    [InlineData("R (running)", "0000000000000000", "0000000000000100", false)]
    public void A_thread_is_gone_when_it_cannot_come_back(string state, string own, string shared, bool gone) =>
        Assert.Equal(gone, ProcessControlThreads.IsThreadGone(Encoding.UTF8.GetBytes(
            $"Name:\tState: Z SigPnd:\nUmask:\t0022\nState:\t{state}\nTgid:\t9\nSigPnd:\t{own}\nShdPnd:\t{shared}\nSigBlk:\t0\n")));

    [Fact]
    public void Looking_at_a_living_process_leaves_hardly_any_garbage()
    {
        Assert.False(ProcessControlThreads.IsGone(Environment.ProcessId));
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 1_000; i++)
        {
            _ = ProcessControlThreads.IsGone(Environment.ProcessId);
        }

        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1_000 * 400);
    }

    [Fact]
    public void A_text_without_a_state_is_not_gone() => Assert.False(ProcessControlThreads.IsThreadGone("Name:\tx\n"u8));

    /// <summary>Somebody who was not waited for finds zeros, and keeps neither the memory nor the descriptor.</summary>
    [Fact]
    public unsafe void Memory_that_was_given_back_is_harmless()
    {
        var memory = Memory("efs-late", 1 << 20);
        byte* late = memory.Pointer;
        late[5] = 42;
        memory.Dispose();
        memory.Dispose();
        Assert.Equal(0, late[5]);
        late[5] = 1;
        Assert.DoesNotContain("memfd:efs-late", File.ReadAllText("/proc/self/maps"), StringComparison.Ordinal);
        Assert.DoesNotContain(Directory.EnumerateFiles("/proc/self/fd"), fd => new FileInfo(fd).LinkTarget?.Contains("efs-late", StringComparison.Ordinal) == true);
        Assert.Throws<ObjectDisposedException>(() => { _ = memory.Slice(0, 1)[0]; });
    }

    private static SharedMemory Memory(string name, long size)
    {
        Assert.Equal(Errno.OK, SharedMemory.Create(name, size, allocate: true, out var memory));
        return memory!;
    }

    private static int Flags(int fd) => Convert.ToInt32(
        File.ReadAllLines($"/proc/self/fdinfo/{fd}").First(static line => line.StartsWith("flags:", StringComparison.Ordinal))[6..].Trim(), 8);
}
