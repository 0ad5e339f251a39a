namespace EphemeralFs.FuseMount.Node;

/// <summary>A mount that the keeper holds and this daemon does not serve: not yet, or not ever. Its programs wait.</summary>
/// <param name="key">What the keeper calls it.</param>
/// <param name="directory">Where it is.</param>
/// <param name="device"><c>major:minor</c> of the file system; empty when it is not mounted any more.</param>
internal sealed class UnservedMount(string key, string directory, string device)
{
    private readonly TaskCompletionSource _resumed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile string? _reason;

    /// <summary>What the keeper calls it.</summary>
    public string Key { get; } = key;

    /// <summary>Where it is.</summary>
    public string Directory { get; } = directory;

    /// <summary><c>major:minor</c> of the file system.</summary>
    public string Device { get; } = device;

    /// <summary>Whether it cannot be taken over at all: another version of this program made it.</summary>
    public bool IsForeign => _reason is not null;

    /// <summary>Completes when it is known whether it can be taken over.</summary>
    public Task Resumed => _resumed.Task;

    /// <summary>Why nobody serves it, and what to do.</summary>
    public string Problem => _reason is { } reason
        ? $"{Directory} cannot be taken over by this version: {reason}; start the version before again (kubectl rollout undo), or end the programs that use it and unmount it"
        : $"{Directory} is being taken over, and its metadata server does not answer";

    /// <summary>It cannot be taken over; returns <see cref="Problem"/>.</summary>
    public string Fail(string reason)
    {
        _reason = reason;
        EndResume();
        return Problem;
    }

    /// <summary>It is taken over, or will not be.</summary>
    public void EndResume() => _resumed.TrySetResult();
}
