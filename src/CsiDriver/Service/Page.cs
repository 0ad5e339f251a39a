using EphemeralFs.CsiDriver.Grpc;
using EphemeralFs.CsiDriver.Volumes;
using EphemeralFs.Rpc.Messages;

namespace EphemeralFs.CsiDriver.Service;

/// <summary>A part of a list in the order of names. Tokens name where to go on, so a list that changes meanwhile neither repeats nor skips what stays.</summary>
/// <param name="Volumes">What is in it.</param>
/// <param name="NextToken">Where the next one begins; "" for the end.</param>
internal sealed record Page(IReadOnlyList<VolumeStatus> Volumes, string NextToken)
{
    private const string Prefix = "from:";

    /// <summary>A page.</summary>
    /// <param name="all">By name.</param>
    /// <param name="maxEntries">0: no limit.</param>
    /// <param name="token">"" for the first one.</param>
    /// <exception cref="GrpcException">INVALID_ARGUMENT for a negative number, ABORTED for a token that is none.</exception>
    public static Page Of(IEnumerable<VolumeStatus> all, int maxEntries, string token)
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
        var rest = all.Where(volume => string.CompareOrdinal(volume.Name, from) >= 0).ToList();
        return maxEntries == 0 || rest.Count <= maxEntries ? new Page(rest, "") : new Page(rest[..maxEntries], Prefix + rest[maxEntries].Name);
    }
}
