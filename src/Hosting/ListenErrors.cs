using System.Net.Sockets;
using EphemeralFs.Interop;
using EphemeralFs.Rpc;

namespace EphemeralFs.Hosting;

/// <summary>Why a role cannot serve where it should, in one line.</summary>
public static class ListenErrors
{
    /// <summary>The line for a failed bind.</summary>
    public static StartupException Describe(Endpoint endpoint, SocketException error) => new(
        error.SocketErrorCode switch
        {
            _ when endpoint.UnixPath is { } path && Path.Exists(path) && !UnixSocketFile.IsSocket(path) =>
                $"{path} is there and is no socket: remove it, or choose another path with --listen",
            SocketError.AddressAlreadyInUse => $"{endpoint} is in use: stop the process that has it, or choose another with --listen",
            SocketError.AccessDenied => $"{endpoint}: no permission to listen there: choose another with --listen, or run as a user who may",
            SocketError.AddressNotAvailable when endpoint.UnixPath is null => $"{endpoint} is no address of this machine: choose another with --listen",
            _ when endpoint.UnixPath is { } path && !Directory.Exists(Path.GetDirectoryName(path)) =>
                $"{endpoint}: the directory {Path.GetDirectoryName(path)} does not exist: create it, or choose another with --listen",
            _ => $"{endpoint}: cannot listen ({error.Message}): choose another with --listen",
        },
        error);
}
