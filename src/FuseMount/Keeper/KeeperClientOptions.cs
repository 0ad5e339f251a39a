using EphemeralFs.Core;
using Microsoft.Win32.SafeHandles;

namespace EphemeralFs.FuseMount.Keeper;

/// <summary>Configuration of a daemon's connection to its keeper.</summary>
public sealed record KeeperClientOptions
{
    /// <summary>The keeper's socket.</summary>
    public required string SocketPath { get; init; }

    /// <summary>How long the first attach may take, in milliseconds; the keeper may start at the same time.</summary>
    public int AttachTimeoutMs { get; init; } = 10_000;

    /// <summary>First delay before a lost keeper is looked for again, in milliseconds; doubles up to <see cref="MaxReconnectDelayMs"/>.</summary>
    public int ReconnectDelayMs { get; init; } = 10;

    /// <summary>Longest delay between two looks, in milliseconds; far below <see cref="KeeperOptions.AdoptTimeoutMs"/>.</summary>
    public int MaxReconnectDelayMs { get; init; } = 500;

    /// <summary>How long one answer may take before the connection counts as lost, in milliseconds.</summary>
    public int ReplyTimeoutMs { get; init; } = 10_000;

    /// <summary>Receives one line for each thing worth knowing, on the client's thread.</summary>
    public Action<string>? Log { get; init; }
}

/// <summary>An entry that the predecessor left. The receiver owns the descriptors.</summary>
public sealed record KeeperEntry(string Key, byte[] Payload, IReadOnlyList<SafeFileHandle> Fds);

/// <summary>Why a daemon is to stop.</summary>
public enum KeeperStopReason
{
    /// <summary>A successor waits: stop reading requests, finish what is in flight, leave mounts and entries, exit.</summary>
    Handover,

    /// <summary>Another daemon has taken over already: touch nothing any more and exit at once.</summary>
    Superseded,
}

/// <summary>One entry as the client keeps it for a keeper that lost everything: its own duplicates of the descriptors.</summary>
internal sealed record KeeperDeposit(string Key, byte[] Payload, KeeperDepositFds Fds);

/// <summary>Duplicated descriptors shared by the deposits that differ only in their payload. Counted under the client's lock.</summary>
internal sealed class KeeperDepositFds(SafeFileHandle[] handles)
{
    private int _users;

    internal int[] Numbers => Array.ConvertAll(handles, static handle => (int)handle.DangerousGetHandle());

    internal void AddUser() => _users++;

    internal void Release()
    {
        if (--_users == 0)
        {
            Array.ForEach(handles, static handle => handle.Dispose());
        }
    }

    internal static KeeperDepositFds Duplicate(IReadOnlyList<SafeFileHandle> fds)
    {
        var duplicates = new SafeFileHandle[fds.Count];
        for (var i = 0; i < duplicates.Length; i++)
        {
            var error = Interop.FdPassing.Duplicate(fds[i], out var duplicate);
            if (error != Errno.OK)
            {
                Array.ForEach(duplicates, static handle => handle?.Dispose());
                throw new KeeperException(error, $"cannot duplicate a descriptor for the keeper: {error}");
            }

            duplicates[i] = duplicate!;
        }

        return new KeeperDepositFds(duplicates);
    }
}
