namespace EphemeralFs.Client;

/// <summary>Waiting for a task, and not for ever.</summary>
internal static class TaskDeadline
{
    /// <summary>What the task comes to, or something else when that takes too long. The task goes on.</summary>
    /// <remarks>Not Task.WaitAsync, which goes on by way of the thread pool: a simulation has no threads.</remarks>
    public static async ValueTask<T> OrAfterAsync<T>(this Task<T> task, long ms, T otherwise, TimeProvider time)
    {
        var ended = new TaskCompletionSource<T>(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var deadline = time.CreateTimer(_ => ended.TrySetResult(otherwise), null, TimeSpan.FromMilliseconds(ms), Timeout.InfiniteTimeSpan);
        _ = PassOnAsync();
        return await ended.Task;

        async Task PassOnAsync() => ended.TrySetResult(await task);
    }
}
