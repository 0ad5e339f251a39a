using System.Net.Sockets;
using System.Text;

namespace EphemeralFs.Hosting;

/// <summary>Tells whoever started this process how its start went: datagrams of <c>KEY=value</c> lines, as <c>sd_notify(3)</c> defines them.</summary>
/// <remarks>So <c>up</c> and systemd (<c>Type=notify</c>) wait for readiness in the same way, without polling.</remarks>
public static class ServiceNotifier
{
    /// <summary>The variable by which systemd passes the socket.</summary>
    public const string Variable = "NOTIFY_SOCKET";

    /// <summary>Sends the lines. Nobody listening is no error: a supervisor may be gone.</summary>
    /// <param name="socketPath">The socket, or "" to take it from the environment.</param>
    /// <param name="lines">Such as <c>READY=1</c>.</param>
    public static void Send(string socketPath, params ReadOnlySpan<string> lines)
    {
        if (socketPath.Length == 0)
        {
            socketPath = Environment.GetEnvironmentVariable(Variable) ?? "";
        }

        if (socketPath.Length == 0)
        {
            return;
        }

        if (socketPath[0] == '@')
        {
            socketPath = '\0' + socketPath[1..]; // an abstract name
        }

        try
        {
            using var socket = new Socket(AddressFamily.Unix, SocketType.Dgram, ProtocolType.Unspecified);
            socket.Connect(new UnixDomainSocketEndPoint(socketPath));
            socket.Send(Encoding.UTF8.GetBytes(string.Join('\n', lines)));
        }
        catch (SocketException)
        {
            // The listener went away; there is nobody left to tell.
        }
    }
}
