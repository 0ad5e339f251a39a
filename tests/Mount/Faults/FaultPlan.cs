namespace EphemeralFs.Tests.Mount.Faults;

/// <summary>What is done to a cluster at one moment.</summary>
/// <param name="Kind">What.</param>
/// <param name="Victims">To whom, as "role name"; more than one die together. None for a cut.</param>
/// <param name="PauseMs">How long nothing is done before it.</param>
/// <param name="LengthMs">How long a stop or a cut lasts.</param>
internal sealed record Fault(FaultKind Kind, IReadOnlyList<string> Victims, int PauseMs, int LengthMs)
{
    public override string ToString() => Kind == FaultKind.Kill ? $"kill -9 {string.Join(" and ", Victims)}" : $"{Kind} {string.Join(" and ", Victims)} for {LengthMs} ms";
}

internal enum FaultKind
{
    /// <summary>kill -9.</summary>
    Kill,

    /// <summary>SIGSTOP, and SIGCONT later.</summary>
    Stop,

    /// <summary>The second node's network loses every packet.</summary>
    Cut,
}

/// <summary>A sequence of faults that follows from a seed alone.</summary>
internal static class FaultPlan
{
    /// <summary>Everybody whom a fault may hit. A keeper never dies together with its daemon: then the mount is lost, which is no fault of anybody.</summary>
    public static readonly IReadOnlyList<string> Victims =
        ["controller controller", "metadata metadata-1", "storage storage-1", "storage storage-2", "node node-1", "node b", "keeper node-1"];

    /// <summary>Stops and cuts are shorter than a session's time-out (20 s), and than the time after which a server is given up. Between two of them the servers answer.</summary>
    private const int LongestMs = 6000;

    private const int ShortestMs = 200;
    private const int LongestPauseMs = 2500;
    private const int ShortestPauseMs = 200;

    /// <summary>The sequence, without end.</summary>
    public static IEnumerable<Fault> For(int seed)
    {
        var random = new Random(seed);
        while (true)
        {
            int pause = random.Next(ShortestPauseMs, LongestPauseMs);
            int length = random.Next(ShortestMs, LongestMs);
            string[] order = [.. Victims];
            random.Shuffle(order);
            // Of ten: five that die alone, two that die together, two stops, one cut.
            yield return random.Next(10) switch
            {
                < 5 => new(FaultKind.Kill, [order[0]], pause, 0),
                < 7 => new(FaultKind.Kill, [order[0], order.Skip(1).First(other => NameOf(other) != NameOf(order[0]))], pause, 0),
                < 9 => new(FaultKind.Stop, [order[0]], pause, length),
                _ => new(FaultKind.Cut, [], pause, length),
            };
        }
    }

    private static string NameOf(string victim) => victim.Split(' ')[1];
}
