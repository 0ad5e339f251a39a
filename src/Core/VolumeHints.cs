using System.Globalization;
using System.Text;

namespace EphemeralFs.Core;

/// <summary>
/// What is said of how a volume will be used. One vocabulary for storage class parameters, annotations of claims, volume attributes of pods and the command line:
/// <c>tier</c>, <c>concurrency</c>, <c>throughput</c>, <c>latencySensitive</c>, <c>lifetime</c>, <c>copies</c>; beside them <c>size</c> and <c>inodes</c>, which are
/// limits and not hints (<see cref="VolumeWish"/>).
/// </summary>
public sealed record VolumeHints
{
    /// <summary>Longest text form, bytes.</summary>
    public const int TextMaxBytes = 255;

    private const uint CopiesMax = 3;

    /// <summary>Nothing is said.</summary>
    public static readonly VolumeHints None = new();

    /// <summary>The tier that takes new blocks while it has room; then slower ones, then faster ones. None: the fastest with room.</summary>
    public TierClass Tier { get; init; }

    /// <summary>How many functions will use it at the same time; 0 unknown.</summary>
    public uint Concurrency { get; init; }

    /// <summary>What they will read and write together, bytes per second; 0 unknown.</summary>
    public long Throughput { get; init; }

    /// <summary>Whether short answers matter more than many bytes.</summary>
    public bool LatencySensitive { get; init; }

    /// <summary>For how long it is needed, seconds; 0: until it is deleted.</summary>
    public uint LifetimeSeconds { get; init; }

    /// <summary>On how many servers each block should be; 0: one.</summary>
    public uint Copies { get; init; }

    /// <summary>The hints as <c>key=value</c>, separated by commas, always in the same order; "" for none.</summary>
    public override string ToString()
    {
        var text = new StringBuilder();
        Add("tier", Tier == TierClass.None ? "" : NameOf(Tier));
        Add("concurrency", Concurrency == 0 ? "" : Concurrency.ToString(CultureInfo.InvariantCulture));
        Add("throughput", Throughput == 0 ? "" : Throughput.ToString(CultureInfo.InvariantCulture));
        Add("latencySensitive", LatencySensitive ? "true" : "");
        Add("lifetime", LifetimeSeconds == 0 ? "" : LifetimeSeconds.ToString(CultureInfo.InvariantCulture));
        Add("copies", Copies == 0 ? "" : Copies.ToString(CultureInfo.InvariantCulture));
        return text.ToString();

        void Add(string key, string value)
        {
            if (value.Length > 0)
            {
                text.Append(text.Length > 0 ? "," : "").Append(key).Append('=').Append(value);
            }
        }
    }

    /// <summary>Reads what <see cref="ToString"/> wrote; null for anything else.</summary>
    public static VolumeHints? Parse(string text)
    {
        var hints = None;
        foreach (var pair in text.Split(',', StringSplitOptions.RemoveEmptyEntries))
        {
            var equals = pair.IndexOf('=', StringComparison.Ordinal);
            if (equals < 0 || hints.With(pair[..equals], pair[(equals + 1)..], out hints) is not "")
            {
                return null;
            }
        }

        return hints;
    }

    /// <summary>The hints with one more.</summary>
    /// <returns>"" when it is a hint and its value is good; what is wrong with the value; null when it is no hint.</returns>
    internal string? With(string key, string value, out VolumeHints hints)
    {
        hints = this;
        switch (key)
        {
            case "tier":
                var isTier = TryParseTier(value, out var tier);
                hints = this with { Tier = tier };
                return isTier ? "" : "must be dram, nvme, ssd, hdd or any";
            case "concurrency":
                var isCount = uint.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var concurrency);
                hints = this with { Concurrency = concurrency };
                return isCount ? "" : "must be a whole number";
            case "throughput":
                var isSize = ByteSize.TryParse(value, out var throughput);
                hints = this with { Throughput = throughput };
                return isSize ? "" : "must be bytes per second, such as 500M";
            case "latencySensitive":
                hints = this with { LatencySensitive = value == "true" };
                return value is "true" or "false" ? "" : "must be true or false";
            case "lifetime":
                var isTime = TryParseSeconds(value, out var seconds);
                hints = this with { LifetimeSeconds = seconds };
                return isTime ? "" : "must be a time such as 90s, 15m, 12h or 7d";
            case "copies":
                var isCopies = uint.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var copies) && copies is >= 1 and <= CopiesMax;
                hints = this with { Copies = copies };
                return isCopies ? "" : $"must be 1 to {CopiesMax}";
            default:
                return null;
        }
    }

    private static string NameOf(TierClass tier) => tier.ToString().ToLowerInvariant();

    private static bool TryParseTier(string text, out TierClass tier)
    {
        tier = text switch
        {
            "dram" => TierClass.Dram,
            "nvme" => TierClass.Nvme,
            "ssd" => TierClass.Ssd,
            "hdd" => TierClass.Hdd,
            "null" => TierClass.Null,
            _ => TierClass.None,
        };
        return tier != TierClass.None || text == "any";
    }

    private static bool TryParseSeconds(string text, out uint seconds)
    {
        seconds = 0;
        var (digits, unit) = text.Length > 0 && char.IsAsciiLetter(text[^1]) ? (text[..^1], text[^1]) : (text, 's');
        ulong scale = unit switch { 's' => 1, 'm' => 60, 'h' => 3600, 'd' => 86400, _ => 0 };
        if (scale == 0 || !uint.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out var number) || number * scale > uint.MaxValue)
        {
            return false;
        }

        seconds = (uint)(number * scale);
        return true;
    }
}

/// <summary>A volume as somebody wishes it: limits and hints.</summary>
/// <param name="LimitBytes">Most bytes; 0: none said.</param>
/// <param name="LimitInodes">Most files and directories; 0: none said.</param>
/// <param name="Hints">How it will be used.</param>
public sealed record VolumeWish(ulong LimitBytes, ulong LimitInodes, VolumeHints Hints)
{
    /// <summary>Nothing is said.</summary>
    public static readonly VolumeWish None = new(0, 0, VolumeHints.None);

    /// <summary>The words of the vocabulary, for messages.</summary>
    public const string Keys = "size, inodes, tier, concurrency, throughput, latencySensitive, lifetime, copies";

    /// <summary>The wish with more pairs of the vocabulary.</summary>
    /// <returns>Null, or what is wrong, naming the key.</returns>
    public static string? TryAdd(VolumeWish wish, IEnumerable<KeyValuePair<string, string>> pairs, out VolumeWish result)
    {
        result = wish;
        foreach (var (key, value) in pairs)
        {
            switch (key)
            {
                case "size":
                    if (!ByteSize.TryParse(value, out var bytes) || bytes == 0)
                    {
                        return $"size: '{value}' must be bytes above 0, such as 10Gi";
                    }

                    result = result with { LimitBytes = (ulong)bytes };
                    break;
                case "inodes":
                    if (!ulong.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out var inodes) || inodes == 0)
                    {
                        return $"inodes: '{value}' must be a whole number above 0";
                    }

                    result = result with { LimitInodes = inodes };
                    break;
                default:
                    var wrong = result.Hints.With(key, value, out var hints);
                    if (wrong != "")
                    {
                        return wrong is null ? $"unknown key '{key}'; known are {Keys}" : $"{key}: '{value}' {wrong}";
                    }

                    result = result with { Hints = hints };
                    break;
            }
        }

        return null;
    }
}
