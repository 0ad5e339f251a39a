using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace EphemeralFs.Hosting.Options;

/// <summary>A configuration file: YAML, one key for each option, a list where an option may be repeated.</summary>
public static class OptionFile
{
    /// <summary>Reads the keys in their order. Throws a <see cref="StartupException"/> that names the place of the mistake.</summary>
    public static IEnumerable<KeyValuePair<string, string[]>> Read(string path)
    {
        string text;
        try
        {
            text = File.ReadAllText(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            throw StartupException.Usage($"the configuration file {path} does not exist: create it or correct --config");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw StartupException.Usage($"the configuration file {path} cannot be read: {e.Message}");
        }

        return Parse(text, path);
    }

    /// <summary>Reads the text of a file; <paramref name="path"/> is for messages.</summary>
    public static IReadOnlyList<KeyValuePair<string, string[]>> Parse(string text, string path)
    {
        var yaml = new YamlStream();
        try
        {
            yaml.Load(new StringReader(text));
        }
        catch (YamlException e)
        {
            throw StartupException.Usage($"{path}:{e.Start.Line}: not valid YAML: {e.Message}");
        }

        var result = new List<KeyValuePair<string, string[]>>();
        if (yaml.Documents.Count == 0 || yaml.Documents[0].RootNode is YamlScalarNode { Value: "" or null })
        {
            return result;
        }

        if (yaml.Documents[0].RootNode is not YamlMappingNode map)
        {
            throw StartupException.Usage($"{path}: must consist of lines 'option: value'");
        }

        foreach (var (keyNode, valueNode) in map.Children)
        {
            var key = (keyNode as YamlScalarNode)?.Value ?? "";
            string[] values = valueNode switch
            {
                YamlScalarNode scalar => [scalar.Value ?? ""],
                YamlSequenceNode list when list.Children.All(c => c is YamlScalarNode) => [.. list.Children.Select(c => ((YamlScalarNode)c).Value ?? "")],
                _ => throw StartupException.Usage($"{path}:{valueNode.Start.Line}: '{key}' must be a value or a list of values"),
            };
            result.Add(new(key, values));
        }

        return result;
    }
}
