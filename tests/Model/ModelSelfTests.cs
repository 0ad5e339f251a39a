using EphemeralFs.Tests.Model.Native;
using EphemeralFs.Tests.Model.Ops;
using EphemeralFs.Tests.Model.Running;

namespace EphemeralFs.Tests.Model;

/// <summary>The model judges others, so it is judged first: equal file systems are found equal, faulty ones faulty.</summary>
public sealed class ModelSelfTests : IDisposable
{
    private readonly ReferenceDirectory reference = new();
    private readonly ReferenceDirectory subject = new();

    public void Dispose()
    {
        reference.Dispose();
        subject.Dispose();
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Equal_file_systems_are_equal(ulong seed)
    {
        var check = new ModelCheck(new World(reference.Location, [subject.Location]), new GeneratorOptions { Remounts = true });
        Assert.Equal("", check.Run(seed, steps: 5000));
    }

    [Theory]
    [InlineData(4)]
    [InlineData(5)]
    public void Two_nodes_of_one_file_system_are_equal_to_one(ulong seed)
    {
        var world = new World(reference.Location, [subject.Location, subject.Location]);
        Assert.Equal("", new ModelCheck(world, new GeneratorOptions { Nodes = 2 }).Run(seed, steps: 5000));
    }

    [Theory]
    [InlineData(typeof(FaultyCalls.ShortAppend), 4)]
    [InlineData(typeof(FaultyCalls.ForgetsLinks), 4)]
    [InlineData(typeof(FaultyCalls.IgnoresNoReplace), 5)]
    [InlineData(typeof(FaultyCalls.NeverGrows), 4)]
    [InlineData(typeof(FaultyCalls.KeepsHoleBytes), 4)]
    [InlineData(typeof(FaultyCalls.PositionCookies), 12)]
    public void Faults_are_found_and_shrunk(Type fault, int atMostOperations)
    {
        var world = new World(reference.Location, [subject.Location], SubjectCalls: () => (Calls)Activator.CreateInstance(fault)!);
        var ops = new OpGenerator(7, new GeneratorOptions()).Sequence(6000);
        var failure = ModelRun.Find(world, ops, compareEvery: 100);
        Assert.NotNull(failure);
        var (shrunk, remaining) = new Shrinker(world, TimeSpan.FromMinutes(2)).Shrink([.. ops.Take(failure.Step + 1)]);
        Assert.NotNull(remaining);
        Assert.True(shrunk.Count <= atMostOperations, $"{shrunk.Count} operations remain:\n{OpText.Write(shrunk)}{remaining.Message}");
        // The printed text is the sequence: read back, it fails in the same way, and only on the faulty file system.
        var read = OpText.Read(OpText.Write(shrunk));
        Assert.Equal(shrunk, read);
        Assert.Equal(remaining.Message.Split('\n')[0].Split(' ')[0], ModelRun.Find(world, read, compareEvery: 1)!.Message.Split('\n')[0].Split(' ')[0]);
        Assert.Null(ModelRun.Find(world with { SubjectCalls = null }, read, compareEvery: 1));
    }

    [Fact]
    public void The_same_seed_gives_the_same_sequence()
    {
        var options = new GeneratorOptions { Nodes = 2, Users = true, Remounts = true, PrivilegedXattrs = true };
        Assert.Equal(new OpGenerator(11, options).Sequence(2000), new OpGenerator(11, options).Sequence(2000));
        Assert.NotEqual(new OpGenerator(11, options).Sequence(20), new OpGenerator(12, options).Sequence(20));
    }

    [Fact]
    public void Most_rules_succeed_and_fail()
    {
        // A generator whose operations nearly all fail would agree with anything.
        var succeeded = new Dictionary<string, int>();
        var failed = new Dictionary<string, int>();
        new World(reference.Location, [subject.Location]).InFreshTrees(pair =>
        {
            foreach (var op in new OpGenerator(13, new GeneratorOptions { Users = false }).Sequence(20_000))
            {
                var counts = op.Apply(pair.Reference).Errno == 0 ? succeeded : failed;
                counts[op.GetType().Name] = counts.GetValueOrDefault(op.GetType().Name) + 1;
            }
            return 0;
        });
        var all = succeeded.Keys.Union(failed.Keys).Order().ToList();
        string table = string.Join("\n", all.Select(name => $"{name}: {succeeded.GetValueOrDefault(name)} succeeded, {failed.GetValueOrDefault(name)} failed"));
        Assert.All(all, name => Assert.True(succeeded.GetValueOrDefault(name) >= 10, $"{name} hardly ever succeeds:\n{table}"));
        Assert.True(all.Count >= 45, table);
    }
}
