using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Net.Sockets;

namespace EphemeralFs.Rpc;

/// <summary>Where a role serves: <c>unix:/path/to.sock</c> or <c>tcp:127.0.0.1:7001</c> (IPv6 as <c>tcp:[::1]:7001</c> or, as the address of a pod is put in, <c>tcp:::1:7001</c>; port 0 = any free port).</summary>
/// <remarks>To connect, a name does as well as an address (<c>tcp:controller:7001</c>): it is resolved for each connection.</remarks>
public sealed record Endpoint
{
    /// <summary>sockaddr_un holds 108 bytes with the final NUL, <c>unix(7)</c>.</summary>
    public const int UnixPathMaxBytes = 107;

    private static readonly System.Buffers.SearchValues<char> NameCharacters =
        System.Buffers.SearchValues.Create("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.");

    private Endpoint(string text, EndPoint address)
    {
        Text = text;
        Address = address;
    }

    /// <summary>The endpoint as it is written.</summary>
    public string Text { get; }

    /// <summary>The address to bind or connect.</summary>
    public EndPoint Address { get; }

    /// <summary>Path of a unix socket, or null.</summary>
    public string? UnixPath => Text.StartsWith("unix:", StringComparison.Ordinal) ? Text[5..] : null;

    /// <summary>The endpoint of a unix socket; throws <see cref="ArgumentException"/> when the path does not fit.</summary>
    public static Endpoint Unix(string path) => Parse("unix:" + path);

    /// <summary>The endpoint of a TCP address.</summary>
    public static Endpoint Tcp(IPEndPoint address) => new($"tcp:{address}", address);

    /// <summary>Parses, or throws <see cref="ArgumentException"/> with a message for people.</summary>
    public static Endpoint Parse(string text) => TryParse(text, out var endpoint, out var error) ? endpoint : throw new ArgumentException(error);

    /// <summary>Parses an endpoint; when false, <paramref name="error"/> says what is wrong.</summary>
    public static bool TryParse(string? text, [NotNullWhen(true)] out Endpoint? endpoint, [NotNullWhen(false)] out string? error)
    {
        (endpoint, error) = (null, null);
        if (text?.StartsWith("unix:", StringComparison.Ordinal) == true)
        {
            var path = text[5..];
            if (!path.StartsWith('/'))
            {
                error = $"endpoint '{text}': the path of a unix socket must be absolute";
            }
            else if (System.Text.Encoding.UTF8.GetByteCount(path) > UnixPathMaxBytes)
            {
                error = $"endpoint '{text}': the path of a unix socket has at most {UnixPathMaxBytes} bytes; choose a shorter directory";
            }
            else
            {
                endpoint = new Endpoint(text, new UnixDomainSocketEndPoint(path));
            }
        }
        else if (text?.StartsWith("tcp:", StringComparison.Ordinal) == true && TryParseAddress(text[4..], out var address))
        {
            endpoint = Tcp(address);
        }
        else if (text?.StartsWith("tcp:", StringComparison.Ordinal) == true && TryParseName(text[4..], out var name))
        {
            endpoint = new Endpoint(text, name);
        }
        else
        {
            error = $"endpoint '{text}' is neither unix:/PATH nor tcp:ADDRESS:PORT";
        }

        return endpoint is not null;
    }

    public override string ToString() => Text;

    /// <summary>An address and a port; of an IPv6 address without brackets what follows the last colon is the port.</summary>
    private static bool TryParseAddress(string text, [NotNullWhen(true)] out IPEndPoint? address)
    {
        address = null;
        var colon = text.LastIndexOf(':');
        if (text.StartsWith('[') || text.IndexOf(':') == colon)
        {
            return IPEndPoint.TryParse(text, out address);
        }

        if (IPAddress.TryParse(text.AsSpan(0, colon), out var host)
            && ushort.TryParse(text.AsSpan(colon + 1), System.Globalization.NumberStyles.None, null, out var port))
        {
            address = new IPEndPoint(host, port);
        }

        return address is not null;
    }

    /// <summary>A DNS name and a port: not all digits and dots, which is an address with a mistake.</summary>
    private static bool TryParseName(string text, [NotNullWhen(true)] out DnsEndPoint? name)
    {
        var colon = text.IndexOf(':');
        var isName = colon is > 0 and <= 253
            && text.AsSpan(0, colon).IndexOfAnyExcept(NameCharacters) < 0
            && text[..colon].Any(static c => !char.IsAsciiDigit(c) && c != '.')
            && ushort.TryParse(text.AsSpan(colon + 1), System.Globalization.NumberStyles.None, null, out _);
        name = isName ? new DnsEndPoint(text[..colon], ushort.Parse(text.AsSpan(colon + 1), System.Globalization.CultureInfo.InvariantCulture)) : null;
        return isName;
    }
}
