using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.CsiDriver.Volumes;
using EphemeralFs.Rpc.Messages;
using Google.Protobuf;

namespace EphemeralFs.CsiDriver.Service;

/// <summary>Parts of lists in the order of names. Tokens name where to go on, so a list that changes meanwhile neither repeats nor skips what stays.</summary>
internal static class Page
{
    private const string Prefix = "from:";

    /// <summary>Bytes of a page, whatever is asked for: gRPC's usual limit of a message is 4 MiB.</summary>
    private const int MaxBytes = 2 << 20;

    /// <summary>A page.</summary>
    /// <param name="all">By name.</param>
    /// <param name="maxEntries">0: as many as fit a message.</param>
    /// <param name="token">"" for the first one.</param>
    /// <param name="describe">What is said of each.</param>
    /// <returns>What is in it, and where the next one begins; "" for the end.</returns>
    /// <exception cref="GrpcException">INVALID_ARGUMENT for a negative number, ABORTED for a token that is none.</exception>
    public static (IReadOnlyList<T> Entries, string NextToken) Of<T>(IEnumerable<VolumeStatus> all, int maxEntries, string token, Func<VolumeStatus, T> describe)
        where T : IMessage
    {
        if (maxEntries < 0)
        {
            throw CsiRequests.Invalid("max_entries is negative");
        }

        if (token.Length > 0 && !token.StartsWith(Prefix, StringComparison.Ordinal))
        {
            throw new GrpcException(GrpcStatusCode.Aborted, $"starting_token '{token}' was not given by this driver: begin again without one");
        }

        var from = token.Length == 0 ? "" : token[Prefix.Length..];
        var entries = new List<T>();
        var bytes = 0;
        foreach (var volume in all.Where(volume => string.CompareOrdinal(volume.Name, from) >= 0))
        {
            var entry = describe(volume);
            bytes += entry.CalculateSize();
            if (entries.Count > 0 && (entries.Count == maxEntries || bytes > MaxBytes))
            {
                return (entries, Prefix + volume.Name);
            }

            entries.Add(entry);
        }

        return (entries, "");
    }
}
