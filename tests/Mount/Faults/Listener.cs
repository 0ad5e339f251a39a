using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>A socket at which a process takes what strangers send: it listens, or receives datagrams under a name.</summary>
/// <param name="Process">Whose it is.</param>
/// <param name="Address">Where it is.</param>
/// <param name="Type">Its type.</param>
internal sealed record Listener(ClusterProcess Process, EndPoint Address, SocketType Type)
{
    private const string TcpListening = "0A";
    private const int AcceptsConnections = 0x10000;

    /// <summary>All of the given processes, as the kernel lists them.</summary>
    public static IReadOnlyList<Listener> Of(IEnumerable<ClusterProcess> processes)
    {
        var sockets = Unix().Concat(Tcp()).ToDictionary(socket => socket.Inode, socket => (socket.Address, socket.Type));
        return [.. processes.SelectMany(process => Directory.EnumerateFiles($"/proc/{process.Pid}/fd")
            .Select(file => File.ResolveLinkTarget(file, false)?.Name ?? "")
            .Where(target => target.StartsWith("socket:[", StringComparison.Ordinal))
            .Select(target => long.Parse(target["socket:[".Length..^1], CultureInfo.InvariantCulture))
            .Where(sockets.ContainsKey)
            .Select(inode => new Listener(process, sockets[inode].Address, sockets[inode].Type)))];
    }

    /// <summary>A new socket that is connected to it.</summary>
    public Socket Connect()
    {
        var socket = new Socket(Address.AddressFamily, Type, Address is IPEndPoint ? ProtocolType.Tcp : ProtocolType.Unspecified);
        try
        {
            socket.Connect(Address);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static IEnumerable<(long Inode, EndPoint Address, SocketType Type)> Unix()
    {
        // Num RefCount Protocol Flags Type St Inode Path
        foreach (string line in File.ReadLines("/proc/net/unix").Skip(1))
        {
            string[] fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            var type = (SocketType)int.Parse(fields[4], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            int flags = int.Parse(fields[3], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            if (fields.Length == 8 && fields[7][0] == '/' && (type == SocketType.Dgram || (flags & AcceptsConnections) != 0))
            {
                yield return (long.Parse(fields[6], CultureInfo.InvariantCulture), new UnixDomainSocketEndPoint(fields[7]), type);
            }
        }
    }

    private static IEnumerable<(long Inode, EndPoint Address, SocketType Type)> Tcp()
    {
        // sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode
        foreach (string line in File.ReadLines("/proc/net/tcp").Skip(1))
        {
            string[] fields = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            if (fields[3] == TcpListening)
            {
                string[] address = fields[1].Split(':');
                yield return (
                    long.Parse(fields[9], CultureInfo.InvariantCulture),
                    new IPEndPoint(uint.Parse(address[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture), int.Parse(address[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture)),
                    SocketType.Stream);
            }
        }
    }
}
