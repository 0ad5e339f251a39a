namespace EphemeralFs.FuseMount.Keeper;

/// <summary>Configuration of one keeper.</summary>
public sealed record KeeperOptions
{
    /// <summary>The unix socket to listen on (mode 0600). Beside it stand SocketPath.lock and, written by the daemon, SocketPath.daemon.</summary>
    public required string SocketPath { get; init; }

    /// <summary>
    /// Command line that starts the node daemon. It stays in the foreground and attaches within <see cref="StartTimeoutMs"/>. Empty: nothing is
    /// supervised, daemons come by themselves.
    /// </summary>
    public IReadOnlyList<string> NodeCommand { get; init; } = [];

    /// <summary>Delays between restarts.</summary>
    public RestartBackoff RestartBackoff { get; init; } = new();

    /// <summary>A started daemon that has not attached after so many milliseconds is killed and counted as a failure.</summary>
    public int StartTimeoutMs { get; init; } = 60_000;

    /// <summary>
    /// How long a new keeper waits for a daemon that outlived the last keeper, in milliseconds. A daemon that is alive and does not come by
    /// then hangs; it is killed. Clients try to reconnect at least every <see cref="KeeperClientOptions.MaxReconnectDelayMs"/>.
    /// </summary>
    public int AdoptTimeoutMs { get; init; } = 30_000;

    /// <summary>How long a daemon may take to stop when a request does not say, in milliseconds; then it is killed.</summary>
    public int StopTimeoutMs { get; init; } = 10_000;

    /// <summary>Receives one line for each thing worth knowing. Called on the keeper's thread: it must not wait.</summary>
    public Action<string>? Log { get; init; }

    /// <summary>Says what is wrong; null when nothing is.</summary>
    public string? Validate()
    {
        if (string.IsNullOrWhiteSpace(SocketPath))
        {
            return "the keeper needs the path of its socket";
        }

        if (NodeCommand.Count > KeeperLimits.MaxCommandArguments)
        {
            return $"the command line of the node daemon has more than {KeeperLimits.MaxCommandArguments} arguments";
        }

        return StartTimeoutMs <= 0 || AdoptTimeoutMs < 0 || StopTimeoutMs <= 0
            ? "time-outs of the keeper must be above 0 (the adoption time-out may be 0)"
            : RestartBackoff.Validate();
    }
}

/// <summary>The keeper cannot start, or a request to it failed; the message says what to do.</summary>
public sealed class KeeperException : IOException
{
    /// <summary>Creates one.</summary>
    public KeeperException(Core.Errno error, string message)
        : base(message) => Error = error;

    /// <summary>The error number.</summary>
    public Core.Errno Error { get; }
}
