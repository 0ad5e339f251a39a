using System.Collections.Concurrent;

namespace EphemeralFs.Tests.Mount.Posix;

/// <summary>
/// A thread with a descriptor table of its own (<c>unshare(CLONE_FILES)</c>). The kernel takes the descriptor table for the owner of
/// POSIX locks, so two actors conflict, wait for each other and lose their locks at close just as two processes do.
/// </summary>
internal sealed class Actor : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly BlockingCollection<Action> work = [];
    private readonly Thread thread;
    private volatile int threadId;
    private bool disposed;

    /// <param name="inherit">Start with a copy of the caller's descriptors, as a forked child does, instead of none.</param>
    public Actor(bool inherit = false)
    {
        var ready = new TaskCompletionSource();
        thread = new Thread(() =>
        {
            long result = Native.Unshare(Native.CLONE_FILES);
            threadId = Native.ThreadId();
            if (!inherit)
            {
                CloseInheritedFiles();
            }
            if (result < 0)
            {
                ready.SetException(new InvalidOperationException($"unshare: {Native.ErrnoOf(result)}"));
                return;
            }
            ready.SetResult();
            foreach (Action item in work.GetConsumingEnumerable())
            {
                item();
            }
        })
        { IsBackground = true };
        thread.Start();
        ready.Task.GetAwaiter().GetResult();
    }

    // Closes the thread's copies of every open file and directory, so that it keeps none of them open for others. Pipes, sockets and the
    // like stay, and so do memory files: the runtime maps the code that it compiles from one.
    private static void CloseInheritedFiles()
    {
        const string table = "/proc/thread-self/fd";
        int fd = Expect.Fd(Native.Open(table, Native.O_RDONLY | Native.O_DIRECTORY));
        var open = new List<DirectoryEntry>();
        while (Expect.Ok(Native.ReadEntries(fd, 32_768, open)) > 0)
        {
        }
        byte[] target = new byte[4096];
        foreach (DirectoryEntry entry in open.Where(e => e.Name is not ("." or "..")))
        {
            long length = Native.Readlink($"{table}/{entry.Name}", target);
            if (length > 0 && target[0] == '/' && !target.AsSpan().StartsWith("/memfd:"u8) && !target.AsSpan().StartsWith("/dev/"u8))
            {
                Expect.Ok(Native.Close(long.Parse(entry.Name, System.Globalization.CultureInfo.InvariantCulture)));
            }
        }
    }

    /// <summary>Starts <paramref name="body"/> and returns at once.</summary>
    public Task<long> Begin(Func<long> body)
    {
        var done = new TaskCompletionSource<long>(TaskCreationOptions.RunContinuationsAsynchronously);
        work.Add(() =>
        {
            try
            {
                done.SetResult(body());
            }
            catch (Exception e)
            {
                done.SetException(e);
            }
        });
        return done.Task;
    }

    /// <summary>Runs <paramref name="body"/> and gives its result; fails the test when it takes longer than half a minute.</summary>
    public long Do(Func<long> body) => Await(Begin(body));

    public static long Await(Task<long> task)
    {
        Assert.True(task.Wait(Patience), "the call is still blocked after 30 s");
        return task.Result;
    }

    /// <summary>
    /// Returns once the thread sleeps in the system call <c>fcntl</c> or <c>flock</c>, which is how a wait for a lock looks from outside; fails
    /// the test if <paramref name="task"/> ends instead. The kernel gives no event for that, so this polls.
    /// </summary>
    public void UntilBlockedInLock(Task task)
    {
        string[] calls = System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture == System.Runtime.InteropServices.Architecture.Arm64
            ? ["25 ", "32 "]
            : ["72 ", "73 "];
        DateTime end = DateTime.UtcNow + Patience;
        while (!calls.Any(call => File.ReadAllText($"/proc/self/task/{threadId}/syscall").StartsWith(call, StringComparison.Ordinal)))
        {
            Assert.False(task.IsCompleted, "the call returned although the lock is held by another owner");
            Assert.True(DateTime.UtcNow < end, "the call neither returned nor blocked");
            Thread.Yield();
        }
        Assert.False(task.IsCompleted, "the call returned although the lock is held by another owner");
    }

    /// <summary>Ends the thread; the kernel closes its descriptors, as it does when a process exits.</summary>
    public void Dispose()
    {
        if (disposed)
        {
            return;
        }
        disposed = true;
        work.CompleteAdding();
        Assert.True(thread.Join(Patience), "the thread is still blocked after 30 s");
        work.Dispose();
    }
}
