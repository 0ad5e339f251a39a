using System.Buffers;
using System.Globalization;
using System.Text;

namespace EphemeralFs.CsiDriver.Grpc;

/// <summary>The texts of gRPC's headers (gRPC, <c>doc/PROTOCOL-HTTP2.md</c>). Pure.</summary>
internal static class GrpcHeaders
{
    public const string ContentType = "application/grpc";
    public const string Status = "grpc-status";
    public const string Message = "grpc-message";
    public const string Timeout = "grpc-timeout";
    public const string Encoding = "grpc-encoding";
    public const string AcceptEncoding = "grpc-accept-encoding";
    public const string Identity = "identity";

    /// <summary>Longest message in a trailer, in bytes before it is encoded: some clients refuse header lists of more than 8 KiB, and an event of Kubernetes shows 1 KiB.</summary>
    public const int MaxMessageBytes = 2048;

    /// <summary>A time-out has at most eight digits and a unit.</summary>
    private const int MaxTimeoutDigits = 8;

    private static readonly SearchValues<byte> s_plain = SearchValues.Create([.. Enumerable.Range(0x20, 0x7F - 0x20).Where(b => b != '%').Select(b => (byte)b)]);

    /// <summary>Whether a request is gRPC with protobuf: <c>application/grpc</c>, alone or with <c>+proto</c>, and with parameters.</summary>
    public static bool IsGrpc(string? contentType)
    {
        var type = contentType.AsSpan();
        if (type.IndexOf(';') is >= 0 and var end)
        {
            type = type[..end];
        }

        type = type.Trim();
        return type.Equals(ContentType, StringComparison.OrdinalIgnoreCase) || type.Equals(ContentType + "+proto", StringComparison.OrdinalIgnoreCase);
    }

    /// <summary>Reads <c>grpc-timeout</c>: up to eight digits and one of H, M, S, m, u, n.</summary>
    /// <returns>False when it is malformed.</returns>
    public static bool TryParseTimeout(string text, out TimeSpan timeout)
    {
        timeout = default;
        if (text.Length is < 2 or > MaxTimeoutDigits + 1
            || !long.TryParse(text.AsSpan(..^1), NumberStyles.None, CultureInfo.InvariantCulture, out var value))
        {
            return false;
        }

        long ticks;
        switch (text[^1])
        {
            case 'H': ticks = value * TimeSpan.TicksPerHour; break; // 8 digits of hours are 3.6e18 ticks: within 63 bits
            case 'M': ticks = value * TimeSpan.TicksPerMinute; break;
            case 'S': ticks = value * TimeSpan.TicksPerSecond; break;
            case 'm': ticks = value * TimeSpan.TicksPerMillisecond; break;
            case 'u': ticks = value * TimeSpan.TicksPerMicrosecond; break;
            case 'n': ticks = (value + TimeSpan.NanosecondsPerTick - 1) / TimeSpan.NanosecondsPerTick; break; // rounded up: only 0 has passed already
            default: return false;
        }

        timeout = TimeSpan.FromTicks(ticks);
        return true;
    }

    /// <summary>Percent-encodes a message: UTF-8, and of that all but printable ASCII without <c>%</c>. Cut, between characters, at <see cref="MaxMessageBytes"/>.</summary>
    public static string EncodeMessage(string message)
    {
        var bytes = System.Text.Encoding.UTF8.GetBytes(message).AsSpan();
        if (bytes.Length > MaxMessageBytes)
        {
            var length = MaxMessageBytes;
            while (length > 0 && (bytes[length] & 0xC0) == 0x80)
            {
                length--; // a continuation: its character would be cut in two
            }

            bytes = bytes[..length];
        }

        if (!bytes.ContainsAnyExcept(s_plain))
        {
            return System.Text.Encoding.ASCII.GetString(bytes);
        }

        var encoded = new StringBuilder(bytes.Length + 32);
        foreach (var b in bytes)
        {
            if (s_plain.Contains(b))
            {
                encoded.Append((char)b);
            }
            else
            {
                encoded.Append('%').Append(b.ToString("X2", CultureInfo.InvariantCulture));
            }
        }

        return encoded.ToString();
    }
}
